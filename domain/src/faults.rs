//! All that is wrong with a command's fields, not only what reading them met first.
//!
//! Which fields there are and which must be there says the command's schema, the one that the contract shows. Whether a value is good
//! only reading it says, and reading ends at the first bad one: so the fields are read once more for each, with that one first.

use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::command::{ParseError, explain, pointer_to};

/// Faults of one kind of field that are told at most; a client that sends more has another mistake.
const MOST: usize = 50;

/// What else is wrong with `data`, which could not be read as a `T` because of `first`.
pub(crate) fn others<T: DeserializeOwned + ToSchema>(data: &str, first: &ParseError) -> Vec<ParseError> {
    let Ok(body @ Value::Object(_)) = serde_json::from_str(data) else { return Vec::new() };
    let mut known = Vec::new();
    T::schemas(&mut known);
    let mut search = Search { known, faults: Vec::new(), values: Vec::new(), path: Vec::new() };
    search.look_at(&T::schema(), &body);
    let Search { mut faults, values, .. } = search;
    for path in values {
        let mut text = String::new();
        write_first(&body, &path, &mut text);
        let mut json = serde_json::Deserializer::from_str(&text);
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else { continue };
        let fault = explain(&error);
        let (pointer, at) = (pointer_to(path.iter().map(String::as_str)), fault.field.as_deref().unwrap_or_default());
        // What is wrong elsewhere is told there.
        if at == pointer || at.strip_prefix(&pointer).is_some_and(|rest| rest.starts_with('/')) {
            faults.push(fault);
        }
    }
    let mut told = vec![first.field.clone()];
    faults.retain(|fault| {
        let is_new = !told.contains(&fault.field);
        told.push(fault.field.clone());
        is_new
    });
    faults.truncate(MOST);
    faults
}

struct Search {
    known: Vec<(String, RefOr<Schema>)>,
    /// Fields that there are none of, and those that are missing.
    faults: Vec<ParseError>,
    /// Where values stand that may be bad.
    values: Vec<Vec<String>>,
    path: Vec<String>,
}

impl Search {
    fn look_at(&mut self, schema: &RefOr<Schema>, value: &Value) {
        if !self.path.is_empty() {
            self.values.push(self.path.clone());
        }
        let (Some(Schema::Object(object)), Value::Object(fields)) = (self.resolve(schema), value) else { return };
        if object.properties.is_empty() {
            return; // Its shape says something else.
        }
        let pointer = |path: &[String], field: &str| Some(pointer_to(path.iter().map(String::as_str).chain([field])));
        for field in fields.keys().filter(|field| !object.properties.contains_key(*field)).take(MOST) {
            let known = object.properties.keys().cloned().collect::<Vec<_>>().join(", ");
            self.faults.push(ParseError::new("unknown_field", pointer(&self.path, field), format!("no such field; known are {known}")));
        }
        for field in object.required.iter().filter(|field| !fields.contains_key(*field)) {
            self.faults.push(ParseError::new("missing_field", pointer(&self.path, field), format!("the field {field} is missing")));
        }
        for (name, schema) in &object.properties {
            if let Some(value) = fields.get(name) {
                self.path.push(name.clone());
                self.look_at(schema, value);
                self.path.pop();
            }
        }
    }

    /// The schema that a reference names; of one that may also be null, the other.
    fn resolve(&self, schema: &RefOr<Schema>) -> Option<Schema> {
        match schema {
            RefOr::T(Schema::OneOf(one_of)) => {
                one_of.items.iter().find(|item| matches!(item, RefOr::Ref(_))).and_then(|item| self.resolve(item))
            }
            RefOr::T(Schema::AllOf(all_of)) => match all_of.items.as_slice() {
                [only] => self.resolve(only),
                _ => None,
            },
            RefOr::T(schema) => Some(schema.clone()),
            RefOr::Ref(named) => {
                let name = named.ref_location.rsplit('/').next()?;
                self.known.iter().find(|(known, _)| known == name).and_then(|(_, schema)| self.resolve(schema))
            }
        }
    }
}

/// Writes a value with the field at the path before all others.
fn write_first(value: &Value, path: &[String], to: &mut String) {
    let (Value::Object(fields), Some((first, rest))) = (value, path.split_first()) else {
        to.push_str(&value.to_string());
        return;
    };
    let others = fields.iter().filter(|(name, _)| *name != first);
    to.push('{');
    for (n, (name, value)) in fields.get_key_value(first).into_iter().chain(others).enumerate() {
        if n > 0 {
            to.push(',');
        }
        to.push_str(&Value::from(name.as_str()).to_string());
        to.push(':');
        write_first(value, if n == 0 { rest } else { &[] }, to);
    }
    to.push('}');
}
