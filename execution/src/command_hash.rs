//! The hash by which a command that is sent again is told from another one under the same identity.

use events::CommandHash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Hash of a command's name and its fields in canonical form: without white space, keys in order.
pub fn hash_of(name: &str, fields: &Value) -> CommandHash {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    write_canonical(fields, &mut text);
    let digest = Sha256::digest(&text);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    CommandHash(Uuid::from_bytes(first))
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in fields {
                out.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                out.push(b':');
                write_canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            out.extend_from_slice(plain.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str, json: &str) -> CommandHash {
        hash_of(name, &serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_hash_knows_a_command_however_it_is_written() {
        let a = hash("X", r#"{"id":"7","a":[1,{"c":null,"b":"é\n"}]}"#);
        assert_eq!(a, hash("X", "{ \"a\": [1, {\"b\":\"\\u00e9\\u000a\", \"c\":null}],\n\"id\":\"7\"}"));
        for (name, other) in [
            ("Y", r#"{"id":"7","a":[1,{"c":null,"b":"é\n"}]}"#),
            ("X", r#"{"id":"7","a":[1,{"c":"null","b":"é\n"}]}"#),
            ("X", r#"{"id":"7","a":[{"c":null,"b":"é\n"},1]}"#),
            ("X", r#"{"id":"7","a":["1",{"c":null,"b":"é\n"}]}"#),
            ("X", r#"{"id":"7"}"#),
        ] {
            assert_ne!(a, hash(name, other), "{name} {other}");
        }
    }
}
