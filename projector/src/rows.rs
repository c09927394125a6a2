//! The rows of a read model, one struct per table of `migrations/read_model`, and what changes between two sets of them.

use std::collections::{BTreeSet, HashMap};

use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{
    binary::{Column, Fields, Malformed, ToBinary, word},
    fold::{CannotFold, Key},
    headcount::Steps,
};

/// The end of a span: the first day on which it no longer held, or `infinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub Option<Date>);

/// A table of the read model.
pub trait Table: Clone + PartialEq + Send + Sync + 'static {
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
    /// What SQL makes of an element of a column that a parameter carries, for each column.
    pub casts: &'static [&'static str],
}

/// Rows of a table on their way into it, a parameter per column; without a column where there are no rows.
pub(crate) struct TableChange {
    /// The table.
    pub(crate) table: TableInfo,
    /// Rows that are new.
    pub(crate) added: Vec<Column>,
    /// Rows that are there and differ.
    pub(crate) changed: Vec<Column>,
    /// The primary keys of rows that are gone.
    pub(crate) deleted: Vec<Column>,
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident in $table:ident, key [$($key:ident),+], fold $kind:ident($fold:ident) {
        $($column:ident: $type:ty,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[allow(missing_docs)] // The columns are documented in migrations/read_model.
            pub struct $name { $(pub $column: $type,)+ }

            impl Table for $name {
                const INFO: TableInfo = TableInfo {
                    name: stringify!($table),
                    columns: &[$(stringify!($column)),+],
                    key: &[$(stringify!($key)),+],
                    fold_key: stringify!($fold),
                    casts: &[$(<$type as ToBinary>::CAST),+],
                };
                fn same_row(&self, other: &Self) -> bool {
                    $(self.$key == other.$key)&&+
                }
                fn copy(&self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&word(Self::INFO.columns.len()));
                    $(self.$column.put(out);)+
                }
            }

            impl $name {
                /// From what `record_send` gives of a row.
                fn read(record: &[u8]) -> Result<Self, Malformed> {
                    let mut fields = Fields::of(record, Self::INFO.columns.len())?;
                    Ok(Self { $($column: fields.take()?,)+ })
                }
                fn columns(rows: &[Self]) -> Vec<Column> {
                    if rows.is_empty() { Vec::new() } else { vec![$(Column::of(rows.iter().map(|row| &row.$column))),+] }
                }
                fn keys(rows: &[Self]) -> Vec<Column> {
                    if rows.is_empty() { Vec::new() } else { vec![$(Column::of(rows.iter().map(|row| &row.$key))),+] }
                }
            }
        )+

        /// Every table, in the order of [`Rows::copy`].
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
            /// Parts them by the key that a fold loads them by.
            pub(crate) fn by_key(self) -> HashMap<Key, Self> {
                let mut parts: HashMap<Key, Self> = HashMap::new();
                $(for row in self.$table {
                    parts.entry(Key::$kind(row.$fold)).or_default().$table.push(row);
                })+
                parts
            }
            /// Adds a row of a table, from what `record_send` gives of its columns.
            pub fn push(&mut self, table: &str, record: &[u8]) -> Result<(), Malformed> {
                $(if table == $name::INFO.name {
                    self.$table.push($name::read(record)?);
                    return Ok(());
                })+
                Err(Malformed("there is no such table"))
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
            added: Rows,
            changed: Rows,
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
                    for new in after.$table {
                        match before.$table.iter().find(|old| old.same_row(&new)) {
                            None => self.added.$table.push(new),
                            Some(old) if *old != new => self.changed.$table.push(new),
                            Some(_) => {}
                        }
                    }
                )+
                Ok(())
            }
            /// People of whom an employment or an assignment changed.
            pub fn moved(&self) -> BTreeSet<Uuid> {
                let of = |rows: &Rows| {
                    let employed = rows.employment.iter().map(|row| row.employee_id);
                    employed.chain(rows.assignment_span.iter().map(|row| row.employee_id)).collect::<Vec<_>>()
                };
                [&self.added, &self.changed, &self.deleted].into_iter().flat_map(of).collect()
            }
            /// Per table.
            pub(crate) fn changes(&self) -> Vec<TableChange> {
                let mut changes = Vec::new();
                $(
                    let (added, changed) = ($name::columns(&self.added.$table), $name::columns(&self.changed.$table));
                    changes.push(TableChange { table: $name::INFO, added, changed, deleted: $name::keys(&self.deleted.$table) });
                )+
                changes
            }
            /// The rows added, changed and deleted, with their tables' names, as `record_send` would give them.
            #[cfg(test)]
            pub(crate) fn records(&self) -> [Vec<(&'static str, Vec<u8>)>; 3] {
                [&self.added, &self.changed, &self.deleted].map(|rows| {
                    let mut records = Vec::new();
                    $(for row in &rows.$table {
                        let mut record = i32::try_from($name::INFO.columns.len()).unwrap().to_be_bytes().to_vec();
                        $(
                            record.extend_from_slice(&<$type as ToBinary>::TYPE.to_be_bytes());
                            row.$column.put(&mut record);
                        )+
                        records.push(($name::INFO.name, record));
                    })+
                    records
                })
            }
        }
    };
}

tables! {
    /// A department from a day on.
    DepartmentSpan in department_span, key [department_id, valid_from, seq], fold Department(department_id) {
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
    LocationSpan in location_span, key [location_id, valid_from, seq], fold Location(location_id) {
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
    JobSpan in job_span, key [job_id, valid_from, seq], fold Job(job_id) {
        job_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        title: String,
        sets: i16,
    }
    /// A person.
    Employee in employee, key [employee_id], fold Person(employee_id) {
        employee_id: Uuid,
        employee_number: Option<String>,
        original_hire_date: Date,
        stream_version: i64,
    }
    /// One period of employment.
    Employment in employment, key [employment_id], fold Person(employee_id) {
        employment_id: Uuid,
        employee_id: Uuid,
        starts_on: Date,
        ends_on: Until,
        termination_reason: Option<String>,
    }
    /// Personal details from a day on.
    PersonSpan in person_span, key [employee_id, valid_from, seq], fold Person(employee_id) {
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
    ContactSpan in contact_span, key [employee_id, valid_from, seq], fold Person(employee_id) {
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
    AssignmentSpan in assignment_span, key [employment_id, valid_from, seq], fold Person(employee_id) {
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
    CompensationSpan in compensation_span, key [employment_id, valid_from, seq], fold Person(employee_id) {
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
