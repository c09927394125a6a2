//! The tables of a read model: a struct per table, declared by [`tables!`], and what [`TableChange`] carries into one.

use std::cmp::Ordering;

use crate::binary::{Column, Malformed};

/// A row of a table of the read model.
pub trait Table: Clone + PartialEq + Send + Sync + 'static {
    /// Its name, columns and primary key.
    const INFO: TableInfo;
    /// The order of the two rows' primary keys; equal if they are the same row.
    fn compare_keys(&self, other: &Self) -> Ordering;
    /// The row that these bytes are, which `record_send` gave.
    fn read(record: &[u8]) -> Result<Self, Malformed>;
    /// Appends the row in binary COPY format.
    fn copy(&self, out: &mut Vec<u8>);
    /// Appends the row to parameters, of which there is one per column.
    fn put(&self, columns: &mut Vec<Column>);
    /// Appends the primary key to parameters, of which there is one per column of it.
    fn put_key(&self, columns: &mut Vec<Column>);
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
    /// What SQL makes of an element of a column that a parameter carries, for each column.
    pub casts: &'static [&'static str],
    /// The columns' types, by their numbers in `pg_type`.
    pub types: &'static [u32],
}

/// Rows of a table on their way into it, a parameter per column; no parameter where there are no rows.
#[derive(Default)]
pub struct TableChange {
    /// Rows that are new.
    pub(crate) added: Vec<Column>,
    /// Rows that are there and differ.
    pub(crate) changed: Vec<Column>,
    /// The primary keys of rows that are gone.
    pub(crate) deleted: Vec<Column>,
    /// The same rows in binary COPY format: added, changed, deleted.
    #[cfg(test)]
    pub(crate) copied: [Vec<Vec<u8>>; 3],
}

impl TableChange {
    /// Adds what turns rows into others. Both are sorted by their primary key.
    pub fn add<T: Table>(&mut self, before: &[T], after: &[T]) {
        let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some(old), Some(new)) => old.compare_keys(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            match (old, new) {
                (Some(old), None) => {
                    old.put_key(&mut self.deleted);
                    #[cfg(test)]
                    self.keep(2, old);
                }
                (None, Some(new)) => {
                    new.put(&mut self.added);
                    #[cfg(test)]
                    self.keep(0, new);
                }
                (Some(old), Some(new)) if old != new => {
                    new.put(&mut self.changed);
                    #[cfg(test)]
                    self.keep(1, new);
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    #[cfg(test)]
    fn keep<T: Table>(&mut self, kind: usize, row: &T) {
        let mut copied = Vec::new();
        row.copy(&mut copied);
        self.copied[kind].push(copied);
    }
}

/// Declares tables, with their columns in the order of their migration:
/// `pub struct JobSpan in job_span, key [job_id, valid_from, seq] { job_id: Uuid, … }`.
#[macro_export]
macro_rules! tables {
    ($($(#[$doc:meta])* $vis:vis struct $name:ident in $table:ident, key [$($key:ident),+] {
        $($column:ident: $type:ty,)+
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // The columns are documented in migrations/read_model.
        $vis struct $name { $(pub $column: $type,)+ }

        impl $crate::table::Table for $name {
            const INFO: $crate::table::TableInfo = $crate::table::TableInfo {
                name: stringify!($table),
                columns: &[$(stringify!($column)),+],
                key: &[$(stringify!($key)),+],
                casts: &[$(<$type as $crate::binary::ToBinary>::CAST),+],
                types: &[$(<$type as $crate::binary::ToBinary>::TYPE),+],
            };
            fn compare_keys(&self, other: &Self) -> ::std::cmp::Ordering {
                ::std::cmp::Ordering::Equal$(.then_with(|| self.$key.cmp(&other.$key)))+
            }
            fn read(record: &[u8]) -> ::std::result::Result<Self, $crate::binary::Malformed> {
                let mut fields = $crate::binary::Fields::of(record, Self::INFO.columns.len())?;
                ::std::result::Result::Ok(Self { $($column: fields.take()?,)+ })
            }
            fn copy(&self, out: &mut ::std::vec::Vec<u8>) {
                out.extend_from_slice(&$crate::binary::word(Self::INFO.columns.len()));
                $($crate::binary::ToBinary::put(&self.$column, out);)+
            }
            fn put(&self, columns: &mut ::std::vec::Vec<$crate::binary::Column>) {
                $crate::binary::Column::put_row(columns, &[$(&self.$column),+]);
            }
            fn put_key(&self, columns: &mut ::std::vec::Vec<$crate::binary::Column>) {
                $crate::binary::Column::put_row(columns, &[$(&self.$key),+]);
            }
        }
    )+};
}
