//! Tables that are worked out from other tables' rows rather than folded from events, declared by implementing [`Derived`]
//! beside the fold whose rows they come from.

use crate::{binary::Column, fold::CannotFold, projection::Rows, table::TableInfo};

/// A table that is worked out from the rows of one kind of key.
///
/// Either each key's rows add something to its rows, which [`Derived::note`] takes back and adds; or SQL works it out, in a batch
/// for the keys that were noted, and in a rebuild for all at once.
pub trait Derived: Default + Send + 'static {
    /// The rows that it is worked out from.
    type Source: Rows;
    /// Its name, columns and primary key.
    const TABLE: TableInfo;
    /// A query for its rows with one form for each meaning, by which two read models are compared.
    const COMPARED: &'static str;
    /// How SQL fills it in a rebuild; none where it is filled with what was noted.
    const FILLED: Option<Filled> = None;

    /// Takes note of what the rows of a key were and have become. In a rebuild only where SQL does not fill it.
    fn note(&mut self, before: &Self::Source, after: &Self::Source) -> Result<(), CannotFold>;
    /// Takes over what another one has noted.
    fn merge(&mut self, other: Self) -> Result<(), CannotFold>;
    /// What brings the table up to date in a batch.
    fn renewal(&self) -> Result<Renewal, CannotFold>;
    /// Appends the rows to be in a rebuilt table in binary COPY format. How many they are.
    fn copy(&self, out: &mut Vec<u8>) -> Result<u64, CannotFold>;
}

/// How SQL fills a table.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    /// The table after whose keys and indexes are made.
    pub after: &'static str,
    /// The statement.
    pub sql: &'static str,
}

/// What brings a derived table up to date in a batch.
pub enum Renewal {
    /// Rows, a parameter per column, whose `sums` are added to those of the row with their key.
    Add {
        /// The rows; no parameter where there are none.
        rows: Vec<Column>,
        /// The columns that are added up.
        sums: &'static [&'static str],
    },
    /// Statements to be run once the rows are written; empty for none.
    Run(String),
}

/// What rebuilds and digests need to know of a derived table.
#[derive(Debug, Clone, Copy)]
pub struct DerivedInfo {
    /// The table.
    pub table: TableInfo,
    /// See [`Derived::COMPARED`].
    pub compared: &'static str,
    /// See [`Derived::FILLED`].
    pub filled: Option<Filled>,
}

/// Several derived tables.
pub trait DerivedTables: Default + Send {
    /// Adds each.
    fn infos(to: &mut Vec<DerivedInfo>);
    /// Takes over what others have noted.
    fn merge(&mut self, other: Self) -> Result<(), CannotFold>;
    /// Adds what brings each up to date in a batch.
    fn renewals(&self, to: &mut Vec<(TableInfo, Renewal)>) -> Result<(), CannotFold>;
    /// Adds the rows of each that SQL does not fill: how many they are, and in binary COPY format.
    fn copies(&self, to: &mut Vec<(TableInfo, u64, Vec<u8>)>) -> Result<(), CannotFold>;
}

/// Derived tables of one kind of key.
pub trait Notes<R>: DerivedTables {
    /// See [`Derived::note`].
    fn note(&mut self, before: &R, after: &R) -> Result<(), CannotFold>;
    /// The same for a key of a rebuild, which had no rows before.
    fn note_new(&mut self, rows: &R) -> Result<(), CannotFold>;
}

/// One derived table, in a list of them: `(WorkedOut<A>, (WorkedOut<B>, ()))`, which `several![WorkedOut<A>, WorkedOut<B>]` is.
#[derive(Default)]
pub struct WorkedOut<D>(D);

impl<D: Derived> DerivedTables for WorkedOut<D> {
    fn infos(to: &mut Vec<DerivedInfo>) {
        to.push(DerivedInfo { table: D::TABLE, compared: D::COMPARED, filled: D::FILLED });
    }
    fn merge(&mut self, other: Self) -> Result<(), CannotFold> {
        self.0.merge(other.0)
    }
    fn renewals(&self, to: &mut Vec<(TableInfo, Renewal)>) -> Result<(), CannotFold> {
        to.push((D::TABLE, self.0.renewal()?));
        Ok(())
    }
    fn copies(&self, to: &mut Vec<(TableInfo, u64, Vec<u8>)>) -> Result<(), CannotFold> {
        if D::FILLED.is_none() {
            let mut data = Vec::new();
            to.push((D::TABLE, self.0.copy(&mut data)?, data));
        }
        Ok(())
    }
}

impl<D: Derived> Notes<D::Source> for WorkedOut<D> {
    fn note(&mut self, before: &D::Source, after: &D::Source) -> Result<(), CannotFold> {
        self.0.note(before, after)
    }
    fn note_new(&mut self, rows: &D::Source) -> Result<(), CannotFold> {
        // A table that SQL fills in one statement needs no notes per key.
        if D::FILLED.is_none() { self.0.note(&D::Source::default(), rows) } else { Ok(()) }
    }
}

impl DerivedTables for () {
    fn infos(_: &mut Vec<DerivedInfo>) {}
    fn merge(&mut self, (): Self) -> Result<(), CannotFold> {
        Ok(())
    }
    fn renewals(&self, _: &mut Vec<(TableInfo, Renewal)>) -> Result<(), CannotFold> {
        Ok(())
    }
    fn copies(&self, _: &mut Vec<(TableInfo, u64, Vec<u8>)>) -> Result<(), CannotFold> {
        Ok(())
    }
}

impl<R> Notes<R> for () {
    fn note(&mut self, _: &R, _: &R) -> Result<(), CannotFold> {
        Ok(())
    }
    fn note_new(&mut self, _: &R) -> Result<(), CannotFold> {
        Ok(())
    }
}

impl<A: DerivedTables, B: DerivedTables> DerivedTables for (A, B) {
    fn infos(to: &mut Vec<DerivedInfo>) {
        A::infos(to);
        B::infos(to);
    }
    fn merge(&mut self, other: Self) -> Result<(), CannotFold> {
        self.0.merge(other.0)?;
        self.1.merge(other.1)
    }
    fn renewals(&self, to: &mut Vec<(TableInfo, Renewal)>) -> Result<(), CannotFold> {
        self.0.renewals(to)?;
        self.1.renewals(to)
    }
    fn copies(&self, to: &mut Vec<(TableInfo, u64, Vec<u8>)>) -> Result<(), CannotFold> {
        self.0.copies(to)?;
        self.1.copies(to)
    }
}

impl<R, A: Notes<R>, B: Notes<R>> Notes<R> for (A, B) {
    fn note(&mut self, before: &R, after: &R) -> Result<(), CannotFold> {
        self.0.note(before, after)?;
        self.1.note(before, after)
    }
    fn note_new(&mut self, rows: &R) -> Result<(), CannotFold> {
        self.0.note_new(rows)?;
        self.1.note_new(rows)
    }
}
