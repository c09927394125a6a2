//! The rows of a read model, one struct per table of `migrations/read_model`, and how they travel: as JSON in live
//! batches, in PostgreSQL's binary COPY format in rebuilds.

use std::collections::BTreeSet;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{fold::CannotFold, headcount::Steps};

/// The end of a span: the first day on which it no longer held, or `infinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub Option<Date>);

impl Serialize for Until {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(date) => date.serialize(s),
            None => s.serialize_str("infinity"),
        }
    }
}
impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "infinity" { Ok(Self(None)) } else { text.parse().map(|date| Self(Some(date))).map_err(serde::de::Error::custom) }
    }
}

/// A table of the read model.
pub trait Table: Serialize + for<'de> Deserialize<'de> + Clone + PartialEq + Send + Sync + 'static {
    /// Its name, columns and keys.
    const INFO: TableInfo;
    /// Whether both rows have the same primary key.
    fn same_row(&self, other: &Self) -> bool;
    /// Appends the row in binary COPY format.
    fn copy(&self, out: &mut Vec<u8>);
}

/// What SQL needs to know of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in order.
    pub columns: &'static [&'static str],
    /// The columns of its primary key.
    pub key: &'static [&'static str],
    /// The column by which a fold loads its rows: the id of the person, department, location or job.
    pub fold_key: &'static str,
    /// Columns that are read as text, so that no decimal passes through a float.
    pub as_text: &'static [&'static str],
}

/// Rows of a table on their way into it: those to insert or to replace, and those to delete, as JSON arrays.
#[derive(Debug, PartialEq, Eq)]
pub struct TableChange {
    /// The table.
    pub table: TableInfo,
    /// Rows that are new or differ.
    pub put: Option<String>,
    /// Rows that are gone; only their primary keys matter.
    pub deleted: Option<String>,
}

fn json<T: Table>(rows: &[T]) -> Result<Option<String>, serde_json::Error> {
    if rows.is_empty() { Ok(None) } else { serde_json::to_string(rows).map(Some) }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident in $table:ident, key [$($key:ident),+], fold $fold:ident, text [$($text:ident),*] {
        $($column:ident: $type:ty,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[allow(missing_docs)] // The columns are documented in migrations/read_model.
            pub struct $name { $(pub $column: $type,)+ }

            impl Table for $name {
                const INFO: TableInfo = TableInfo {
                    name: stringify!($table),
                    columns: &[$(stringify!($column)),+],
                    key: &[$(stringify!($key)),+],
                    fold_key: stringify!($fold),
                    as_text: &[$(stringify!($text)),*],
                };
                fn same_row(&self, other: &Self) -> bool {
                    $(self.$key == other.$key)&&+
                }
                fn copy(&self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&word(Self::INFO.columns.len()));
                    $(self.$column.copy_field(out);)+
                }
            }
        )+

        /// Every table, in the order of [`Rows::copy`] and [`Rows::push_json`].
        pub const TABLES: &[TableInfo] = &[$($name::INFO),+];

        /// Rows of any table.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // A field per table.
        pub struct Rows { $(pub $table: Vec<$name>,)+ }

        impl Rows {
            /// How many there are.
            pub fn count(&self) -> usize {
                0 $(+ self.$table.len())+
            }
            /// Takes all rows out, and keeps the memory.
            pub fn clear(&mut self) {
                $(self.$table.clear();)+
            }
            /// Adds a row of a table, from JSON as PostgreSQL writes it.
            pub fn push_json(&mut self, table: &str, row: &str) -> Result<(), serde_json::Error> {
                $(if table == $name::INFO.name {
                    self.$table.push(serde_json::from_str(row)?);
                    return Ok(());
                })+
                Err(serde::de::Error::custom(format!("there is no table {table}")))
            }
            /// Appends every row to its table's buffer, in binary COPY format.
            pub fn copy(&self, buffers: &mut [Vec<u8>]) {
                let mut buffers = buffers.iter_mut();
                $(if let Some(buffer) = buffers.next() {
                    self.$table.iter().for_each(|row| row.copy(buffer));
                })+
            }
        }

        /// What turns one set of rows into another.
        #[derive(Debug, Default)]
        pub struct Difference {
            put: Rows,
            deleted: Rows,
            /// What the rows of people that changed add to the headcount.
            pub steps: Steps,
        }

        impl Difference {
            /// Adds what one key's rows became. The keys' rows are few, so each is looked for among all.
            pub fn add(&mut self, before: Rows, after: Rows) -> Result<(), CannotFold> {
                self.steps.take_back(&before)?;
                self.steps.add(&after)?;
                $(
                    let gone = |old: &$name| !after.$table.iter().any(|new| new.same_row(old));
                    self.deleted.$table.extend(before.$table.iter().filter(|old| gone(*old)).cloned());
                    self.put.$table.extend(after.$table.into_iter().filter(|new| !before.$table.contains(new)));
                )+
                Ok(())
            }
            /// People of whom an employment or an assignment changed.
            pub fn moved(&self) -> BTreeSet<Uuid> {
                let of = |rows: &Rows| {
                    let employed = rows.employment.iter().map(|row| row.employee_id);
                    employed.chain(rows.assignment_span.iter().map(|row| row.employee_id)).collect::<Vec<_>>()
                };
                of(&self.put).into_iter().chain(of(&self.deleted)).collect()
            }
            /// Per table, as JSON; tables without a change are left out.
            pub fn changes(&self) -> Result<Vec<TableChange>, serde_json::Error> {
                let mut changes = Vec::new();
                $(
                    let (put, deleted) = (json(&self.put.$table)?, json(&self.deleted.$table)?);
                    if put.is_some() || deleted.is_some() {
                        changes.push(TableChange { table: $name::INFO, put, deleted });
                    }
                )+
                Ok(changes)
            }
        }
    };
}

tables! {
    /// A department from a day on.
    DepartmentSpan in department_span, key [department_id, valid_from, seq], fold department_id, text [] {
        department_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        parent_id: Option<Uuid>,
        sets: i16,
    }
    /// A location from a day on.
    LocationSpan in location_span, key [location_id, valid_from, seq], fold location_id, text [] {
        location_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        time_zone: String,
        sets: i16,
    }
    /// A job from a day on.
    JobSpan in job_span, key [job_id, valid_from, seq], fold job_id, text [] {
        job_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        title: String,
        sets: i16,
    }
    /// A person.
    Employee in employee, key [employee_id], fold employee_id, text [] {
        employee_id: Uuid,
        employee_number: Option<String>,
        original_hire_date: Date,
        stream_version: i64,
    }
    /// One period of employment.
    Employment in employment, key [employment_id], fold employee_id, text [] {
        employment_id: Uuid,
        employee_id: Uuid,
        starts_on: Date,
        ends_on: Until,
        termination_reason: Option<String>,
    }
    /// Personal details from a day on.
    PersonSpan in person_span, key [employee_id, valid_from, seq], fold employee_id, text [] {
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        given_name: Option<String>,
        family_name: Option<String>,
        birth_date: Option<Date>,
        gender: Option<String>,
        sets: i16,
        search: Option<String>,
        grams: Vec<i32>,
    }
    /// Contact details from a day on.
    ContactSpan in contact_span, key [employee_id, valid_from, seq], fold employee_id, text [] {
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        work_email: Option<String>,
        private_email: Option<String>,
        phone: Option<String>,
        sets: i16,
    }
    /// An assignment from a day on.
    AssignmentSpan in assignment_span, key [employment_id, valid_from, seq], fold employee_id, text [] {
        employment_id: Uuid,
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        department_id: Uuid,
        job_id: Uuid,
        location_id: Option<Uuid>,
        manager_id: Option<Uuid>,
        reason: String,
        sets: i16,
    }
    /// Pay from a day on.
    CompensationSpan in compensation_span, key [employment_id, valid_from, seq], fold employee_id, text [rate, annual] {
        employment_id: Uuid,
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        rate: Decimal,
        currency: String,
        per: String,
        annual: Decimal,
        reason: String,
    }
}

/// A column in PostgreSQL's binary format, with its length in front.
pub(crate) trait CopyField {
    fn copy_field(&self, out: &mut Vec<u8>);
}

/// A count in PostgreSQL's binary format. None is near the limit: columns, and groups of a 96-bit decimal's digits.
pub(crate) fn word(count: usize) -> [u8; 2] {
    i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes()
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    // A field is a part of an event, and those are smaller than 2 GiB by far.
    out.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl CopyField for Uuid {
    fn copy_field(&self, out: &mut Vec<u8>) {
        sized(self.as_bytes(), out);
    }
}
impl CopyField for &str {
    fn copy_field(&self, out: &mut Vec<u8>) {
        sized(self.as_bytes(), out);
    }
}
impl CopyField for String {
    fn copy_field(&self, out: &mut Vec<u8>) {
        sized(self.as_bytes(), out);
    }
}
impl CopyField for Vec<i32> {
    /// As `array_recv` reads it: dimensions, no nulls, `int4`; length and lower bound of the only dimension; elements.
    fn copy_field(&self, out: &mut Vec<u8>) {
        let length = i32::try_from(self.len()).unwrap_or(i32::MAX);
        let header = if self.is_empty() { vec![0, 0, 23] } else { vec![1, 0, 23, length, 1] };
        let elements = self.iter().flat_map(|element| [4, *element]);
        let bytes: Vec<u8> = header.into_iter().chain(elements).flat_map(i32::to_be_bytes).collect();
        sized(&bytes, out);
    }
}
impl CopyField for i16 {
    fn copy_field(&self, out: &mut Vec<u8>) {
        sized(&self.to_be_bytes(), out);
    }
}
impl CopyField for i64 {
    fn copy_field(&self, out: &mut Vec<u8>) {
        sized(&self.to_be_bytes(), out);
    }
}
impl CopyField for Date {
    /// Days since 2000-01-01.
    fn copy_field(&self, out: &mut Vec<u8>) {
        let days = (*self - jiff::civil::date(2000, 1, 1)).get_days();
        sized(&days.to_be_bytes(), out);
    }
}
impl CopyField for Until {
    fn copy_field(&self, out: &mut Vec<u8>) {
        match self.0 {
            Some(date) => date.copy_field(out),
            None => sized(&i32::MAX.to_be_bytes(), out),
        }
    }
}
impl<T: CopyField> CopyField for Option<T> {
    fn copy_field(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.copy_field(out),
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}
impl CopyField for Decimal {
    /// Base-10,000 digits, as in `numeric_send`: count, weight, sign, scale, digits.
    #[allow(clippy::cast_possible_truncation)] // A digit is below 10,000, a scale at most 28, and there are at most 14 digits.
    fn copy_field(&self, out: &mut Vec<u8>) {
        let scale = self.scale();
        // Shift the mantissa so that its decimals fill whole groups of four.
        let padding = (4 - scale % 4) % 4;
        let mut rest = self.mantissa().unsigned_abs() * 10_u128.pow(padding);
        let mut digits: Vec<i16> = Vec::new();
        while rest > 0 {
            digits.push((rest % 10_000) as i16);
            rest /= 10_000;
        }
        let fraction_groups = (scale + padding) / 4;
        let weight = digits.len() as i16 - fraction_groups as i16 - 1;
        digits.reverse();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let mut bytes = Vec::with_capacity(8 + digits.len() * 2);
        let sign: i16 = if self.is_sign_negative() && !self.is_zero() { 0x4000 } else { 0 };
        for value in [digits.len() as i16, if digits.is_empty() { 0 } else { weight }, sign, scale as i16] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        for digit in digits {
            bytes.extend_from_slice(&digit.to_be_bytes());
        }
        sized(&bytes, out);
    }
}

/// What a binary COPY starts with.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub const COPY_TRAILER: &[u8] = &[0xff, 0xff];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: &str, expected: &[i16]) {
        let mut out = Vec::new();
        number.parse::<Decimal>().unwrap().copy_field(&mut out);
        let (length, body) = out.split_at(4);
        assert_eq!(length, i32::try_from(body.len()).unwrap().to_be_bytes());
        let words: Vec<i16> = body.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(words, expected, "{number}");
    }

    /// As `numeric_send` writes them: count of digits, weight, sign, scale, digits to base 10,000.
    #[test]
    fn a_decimal_travels_as_postgresql_writes_it() {
        check("0", &[0, 0, 0, 0]);
        check("1", &[1, 0, 0, 0, 1]);
        check("10000", &[1, 1, 0, 0, 1]);
        check("60117", &[2, 1, 0, 0, 6, 117]);
        check("60117.5", &[3, 1, 0, 1, 6, 117, 5000]);
        check("0.05", &[1, -1, 0, 2, 500]);
        check("0.00001", &[1, -2, 0, 5, 1000]);
        check("-12.345", &[2, 0, 0x4000, 3, 12, 3450]);
        check("999999999999.999", &[4, 2, 0, 3, 9999, 9999, 9999, 9990]);
    }

    #[test]
    fn a_day_travels_as_days_since_2000() {
        for (day, expected) in [("2000-01-01", 0), ("1999-12-31", -1), ("2024-02-29", 8825), ("0001-01-01", -730_119)] {
            let mut out = Vec::new();
            day.parse::<Date>().unwrap().copy_field(&mut out);
            assert_eq!(out, [&4_i32.to_be_bytes()[..], &i32::to_be_bytes(expected)].concat(), "{day}");
        }
        let mut out = Vec::new();
        Until(None).copy_field(&mut out);
        assert_eq!(out[4..], i32::MAX.to_be_bytes());
    }
}
