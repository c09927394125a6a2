//! What a capability's projections are made of, and how the projections of several make one.
//!
//! A [`Fold`] is a kind of key: it says which keys an event touches, and what the rows of one key are after it. What a batch
//! loads, folds and writes goes by kind, so nothing of other kinds is read. [`Projection`] is everything of some kinds; a pair
//! of projections is one, too, and dispatch is static.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    hash::Hash,
    marker::PhantomData,
};

use events::{Event, StreamName, Version};
use foldhash::fast::RandomState;
use uuid::Uuid;

use crate::{
    binary::{Column, Malformed, ToBinary},
    derived::{DerivedTables, Notes},
    fold::CannotFold,
    table::{TableChange, TableInfo},
};

/// A kind of key, as the state that the rows of one key stand for.
///
/// Events come in the order of their stream. A fold is one `match` with an arm per event of its capability.
pub trait Fold: Default + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// The rows of a key.
    type Rows: Rows;
    /// The tables that are worked out from these rows: a tuple of [`crate::derived::WorkedOut`], or `()`.
    type Derived: Notes<Self::Rows>;
    /// Whether events of several streams touch one key. They then come in the order of the log, and a rebuild, which reads stream
    /// after stream, keeps them in memory until it has read all.
    const SEVERAL_STREAMS: bool = false;

    /// Says which keys an event touches. False for an event that this kind does not know: one of another capability.
    fn keys(event: &Event, touch: &mut impl FnMut(<Self::Rows as Rows>::Key)) -> bool;
    /// Folds an event that touches the key. Its personal fields are open or erased.
    fn fold(&mut self, key: <Self::Rows as Rows>::Key, stream: StreamName, version: Version, event: &Event) -> Result<(), CannotFold>;
    /// The state that these rows stand for; they are sorted by their primary keys.
    fn from_rows(rows: Self::Rows) -> Result<Self, CannotFold>;
    /// Adds the rows of the key.
    fn rows(&self, key: <Self::Rows as Rows>::Key, to: &mut Self::Rows);
}

/// The rows of one key, declared by [`rows!`].
pub trait Rows: Default + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// The key.
    type Key: RowKey;
    /// The columns that the key stands in, in each table.
    const KEY: &'static [&'static str];
    /// The tables.
    const TABLES: &'static [TableInfo];
    /// How many rows there are.
    fn count(&self) -> usize;
    /// Takes all rows out, and keeps the memory.
    fn clear(&mut self);
    /// Sorts each table's rows by their primary key.
    fn sort(&mut self);
    /// Adds a row of the n-th table to those of its key, from what `record_send` gives of its columns.
    fn read(keys: &mut BTreeMap<Self::Key, Self>, table: usize, record: &[u8]) -> Result<(), Malformed>;
    /// Appends every row to its table's buffer, in binary COPY format.
    fn copy(&self, buffers: &mut [Vec<u8>]);
    /// Adds what turns these rows into others to each table's change. Both are sorted.
    fn difference(&self, after: &Self, changes: &mut [TableChange]);
}

/// What rows are loaded by: an id, or a pair such as an id and a day.
pub trait RowKey: Copy + Ord + Hash + Debug + Send + Sync + 'static {
    /// A parameter per column.
    fn parameters<'k>(keys: impl ExactSizeIterator<Item = &'k Self> + Clone) -> Vec<Column>;
}

impl RowKey for Uuid {
    fn parameters<'k>(keys: impl ExactSizeIterator<Item = &'k Self> + Clone) -> Vec<Column> {
        vec![Column::of(keys)]
    }
}

impl<A, B> RowKey for (A, B)
where
    A: ToBinary + Copy + Ord + Hash + Debug + Send + Sync + 'static,
    B: ToBinary + Copy + Ord + Hash + Debug + Send + Sync + 'static,
{
    fn parameters<'k>(keys: impl ExactSizeIterator<Item = &'k Self> + Clone) -> Vec<Column> {
        vec![Column::of(keys.clone().map(|key| &key.0)), Column::of(keys.map(|key| &key.1))]
    }
}

/// Declares the rows of a kind of key: `pub struct JobRows by [job_id: Uuid] { job_span: JobSpan }`. Each table has the key's
/// columns.
#[macro_export]
macro_rules! rows {
    (@type [$id:ident: $type:ty]) => { $type };
    (@type [$id:ident: $type:ty, $other:ident: $second:ty]) => { ($type, $second) };
    (@columns [$($column:ident: $type:ty),+]) => { &[$(stringify!($column)),+] };
    (@of $row:ident [$id:ident: $type:ty]) => { $row.$id };
    (@of $row:ident [$id:ident: $type:ty, $other:ident: $second:ty]) => { ($row.$id, $row.$other) };
    ($($(#[$doc:meta])* $vis:vis struct $name:ident by $key:tt { $($table:ident: $row:ty,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // A field per table.
        $vis struct $name { $(pub $table: ::std::vec::Vec<$row>,)+ }

        impl $crate::projection::Rows for $name {
            type Key = $crate::rows!(@type $key);
            const KEY: &'static [&'static str] = $crate::rows!(@columns $key);
            const TABLES: &'static [$crate::table::TableInfo] = &[$(<$row as $crate::table::Table>::INFO),+];
            fn count(&self) -> usize {
                0 $(+ self.$table.len())+
            }
            fn clear(&mut self) {
                $(self.$table.clear();)+
            }
            fn sort(&mut self) {
                $(self.$table.sort_unstable_by($crate::table::Table::compare_keys);)+
            }
            fn read(
                keys: &mut ::std::collections::BTreeMap<Self::Key, Self>,
                table: usize,
                record: &[u8],
            ) -> ::std::result::Result<(), $crate::binary::Malformed> {
                let mut tables = 0..;
                $(if tables.next() == Some(table) {
                    let row = <$row as $crate::table::Table>::read(record)?;
                    keys.entry($crate::rows!(@of row $key)).or_default().$table.push(row);
                    return ::std::result::Result::Ok(());
                })+
                ::std::result::Result::Err($crate::binary::Malformed("there is no such table"))
            }
            fn copy(&self, buffers: &mut [::std::vec::Vec<u8>]) {
                let mut buffers = buffers.iter_mut();
                $(if let Some(buffer) = buffers.next() {
                    self.$table.iter().for_each(|row| $crate::table::Table::copy(row, buffer));
                })+
            }
            fn difference(&self, after: &Self, changes: &mut [$crate::table::TableChange]) {
                let mut changes = changes.iter_mut();
                $(if let Some(change) = changes.next() {
                    change.add(&self.$table, &after.$table);
                })+
            }
        }
    )+};
}

/// Which kinds of key are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// All.
    All,
    /// Those whose keys are each touched by events of one stream.
    OneStream,
    /// The others.
    SeveralStreams,
}

impl Kinds {
    const fn hold<K: Fold>(self) -> bool {
        match self {
            Self::All => true,
            Self::OneStream => !K::SEVERAL_STREAMS,
            Self::SeveralStreams => K::SEVERAL_STREAMS,
        }
    }
}

/// Everything that some kinds of key are loaded, folded and written by.
pub trait Projection: Send + Sync + 'static {
    /// The keys that are in hand, each with its state.
    type Model: Default + Clone + PartialEq + Debug + Send;
    /// The keys that a batch touches, each with its rows as they stand.
    type Before: Default + Clone + Debug + Send + Sync;
    /// What the tables that are worked out from rows take note of.
    type Derived: DerivedTables;
    /// Whether any kind's keys are touched by events of several streams.
    const SEVERAL_STREAMS: bool;
    /// How many tables [`Projection::tables`] adds.
    const TABLES: usize;

    /// Adds the tables, in the order in which parts and changes have them.
    fn tables(to: &mut Vec<TableInfo>);
    /// Whether an event touches a key that events of several streams touch.
    fn touches_several_streams(event: &Event) -> bool;
    /// Adds the keys that an event touches. False for an event that no kind knows.
    fn touch(event: &Event, before: &mut Self::Before) -> bool;
    /// Folds an event into the keys of some kinds that it touches. False for an event that no kind knows.
    fn fold(model: &mut Self::Model, stream: StreamName, version: Version, event: &Event, kinds: Kinds) -> Result<bool, CannotFold>;
    /// Adds what loads the rows of these keys; `first` is the number of the first table.
    fn select(before: &Self::Before, first: usize, to: &mut Selection);
    /// Takes a row of the n-th table.
    fn read(before: &mut Self::Before, table: usize, record: &[u8]) -> Result<(), Malformed>;
    /// The states that rows stand for, which this sorts.
    fn model(before: &mut Self::Before) -> Result<Self::Model, CannotFold>;
    /// Adds what turns rows into those that the model makes of their keys.
    fn difference(
        before: Self::Before,
        model: &Self::Model,
        changes: &mut [TableChange],
        derived: &mut Self::Derived,
    ) -> Result<(), CannotFold>;
    /// Hands out the rows of every key, key after key in their order, and lets go of each state after it; `first` is the number of
    /// the first table, and `each` sees the part after each key.
    fn drain(
        model: Self::Model,
        first: usize,
        part: &mut Part,
        derived: &mut Self::Derived,
        each: &mut dyn FnMut(&mut Part),
    ) -> Result<(), CannotFold>;
}

/// What some events came to: binary COPY data per table.
#[derive(Debug, Default)]
pub struct Part {
    /// The events.
    pub events: u64,
    /// The rows.
    pub rows: u64,
    /// The data, in the order of [`Projection::tables`].
    pub tables: Vec<Vec<u8>>,
}

impl Part {
    /// Of these events, without rows yet.
    pub fn of<P: Projection>(events: usize) -> Self {
        Self { events: events as u64, rows: 0, tables: vec![Vec::new(); P::TABLES] }
    }
    /// Adds what a model's keys came to.
    pub fn add<P: Projection>(&mut self, model: P::Model, derived: &mut P::Derived) -> Result<(), CannotFold> {
        P::drain(model, 0, self, derived, &mut |_| {})
    }
}

/// A statement that loads the rows of some keys: each as its table's number and the row in binary.
#[derive(Default)]
pub struct Selection {
    /// What it is put together from.
    pub(crate) arms: Vec<String>,
    /// Its parameters.
    pub(crate) parameters: Vec<Column>,
}

impl Selection {
    fn add<R: Rows>(&mut self, keys: &BTreeMap<R::Key, R>, first: usize) {
        if keys.is_empty() {
            return;
        }
        let parameters = R::Key::parameters(keys.keys());
        let numbers: Vec<String> = (self.parameters.len() + 1..).take(parameters.len()).map(|n| format!("${n}")).collect();
        self.parameters.extend(parameters);
        let among = match (R::KEY, numbers.as_slice()) {
            ([column], [number]) => format!("{column} = any ({number})"),
            (columns, numbers) => format!("({}) in (select * from unnest({}))", columns.join(", "), numbers.join(", ")),
        };
        for (number, table) in (first..).zip(R::TABLES) {
            let (name, columns) = (table.name, table.columns.join(", "));
            self.arms.push(format!("select {number}, record_send(r) from (select {columns} from {name} where {among}) r"));
        }
    }
}

/// The projection that a [`Fold`] is.
pub struct Kind<K>(PhantomData<fn() -> K>);

impl<K: Fold> Projection for Kind<K> {
    type Model = HashMap<<K::Rows as Rows>::Key, K, RandomState>;
    type Before = BTreeMap<<K::Rows as Rows>::Key, K::Rows>;
    type Derived = K::Derived;
    const SEVERAL_STREAMS: bool = K::SEVERAL_STREAMS;
    const TABLES: usize = K::Rows::TABLES.len();

    fn tables(to: &mut Vec<TableInfo>) {
        to.extend_from_slice(K::Rows::TABLES);
    }
    fn touches_several_streams(event: &Event) -> bool {
        let mut touches = false;
        if K::SEVERAL_STREAMS {
            K::keys(event, &mut |_| touches = true);
        }
        touches
    }
    fn touch(event: &Event, before: &mut Self::Before) -> bool {
        K::keys(event, &mut |key| {
            before.entry(key).or_default();
        })
    }
    fn fold(model: &mut Self::Model, stream: StreamName, version: Version, event: &Event, kinds: Kinds) -> Result<bool, CannotFold> {
        let mut folded = Ok(());
        let known = K::keys(event, &mut |key| {
            if kinds.hold::<K>() && folded.is_ok() {
                folded = model.entry(key).or_default().fold(key, stream, version, event);
            }
        });
        folded.map(|()| known)
    }
    fn select(before: &Self::Before, first: usize, to: &mut Selection) {
        to.add(before, first);
    }
    fn read(before: &mut Self::Before, table: usize, record: &[u8]) -> Result<(), Malformed> {
        K::Rows::read(before, table, record)
    }
    fn model(before: &mut Self::Before) -> Result<Self::Model, CannotFold> {
        let state = |(key, rows): (&<K::Rows as Rows>::Key, &mut K::Rows)| {
            rows.sort();
            Ok((*key, K::from_rows(rows.clone())?))
        };
        before.iter_mut().map(state).collect()
    }
    fn difference(
        before: Self::Before,
        model: &Self::Model,
        changes: &mut [TableChange],
        derived: &mut Self::Derived,
    ) -> Result<(), CannotFold> {
        let mut after = K::Rows::default();
        for (key, before) in before {
            after.clear();
            if let Some(state) = model.get(&key) {
                state.rows(key, &mut after);
            }
            after.sort();
            before.difference(&after, changes);
            derived.note(&before, &after)?;
        }
        Ok(())
    }
    fn drain(
        model: Self::Model,
        first: usize,
        part: &mut Part,
        derived: &mut Self::Derived,
        each: &mut dyn FnMut(&mut Part),
    ) -> Result<(), CannotFold> {
        let mut states: Vec<_> = model.into_iter().collect();
        states.sort_unstable_by_key(|(key, _)| *key);
        let mut rows = K::Rows::default();
        for (key, state) in states {
            rows.clear();
            state.rows(key, &mut rows);
            part.rows += rows.count() as u64;
            rows.copy(part.tables.get_mut(first..).unwrap_or_default());
            derived.note_new(&rows)?;
            each(part);
        }
        Ok(())
    }
}

/// Nothing.
impl Projection for () {
    type Model = ();
    type Before = ();
    type Derived = ();
    const SEVERAL_STREAMS: bool = false;
    const TABLES: usize = 0;

    fn tables(_: &mut Vec<TableInfo>) {}
    fn touches_several_streams(_: &Event) -> bool {
        false
    }
    fn touch(_: &Event, (): &mut ()) -> bool {
        false
    }
    fn fold((): &mut (), _: StreamName, _: Version, _: &Event, _: Kinds) -> Result<bool, CannotFold> {
        Ok(false)
    }
    fn select((): &(), _: usize, _: &mut Selection) {}
    fn read((): &mut (), _: usize, _: &[u8]) -> Result<(), Malformed> {
        Err(Malformed("there is no such table"))
    }
    fn model((): &mut ()) -> Result<(), CannotFold> {
        Ok(())
    }
    fn difference((): (), (): &(), _: &mut [TableChange], (): &mut ()) -> Result<(), CannotFold> {
        Ok(())
    }
    fn drain((): (), _: usize, _: &mut Part, (): &mut (), _: &mut dyn FnMut(&mut Part)) -> Result<(), CannotFold> {
        Ok(())
    }
}

/// Two projections, the second one's tables behind the first one's.
impl<A: Projection, B: Projection> Projection for (A, B) {
    type Model = (A::Model, B::Model);
    type Before = (A::Before, B::Before);
    type Derived = (A::Derived, B::Derived);
    const SEVERAL_STREAMS: bool = A::SEVERAL_STREAMS || B::SEVERAL_STREAMS;
    const TABLES: usize = A::TABLES + B::TABLES;

    fn tables(to: &mut Vec<TableInfo>) {
        A::tables(to);
        B::tables(to);
    }
    fn touches_several_streams(event: &Event) -> bool {
        A::touches_several_streams(event) || B::touches_several_streams(event)
    }
    fn touch(event: &Event, before: &mut Self::Before) -> bool {
        let known = A::touch(event, &mut before.0);
        B::touch(event, &mut before.1) || known
    }
    fn fold(model: &mut Self::Model, stream: StreamName, version: Version, event: &Event, kinds: Kinds) -> Result<bool, CannotFold> {
        let known = A::fold(&mut model.0, stream, version, event, kinds)?;
        Ok(B::fold(&mut model.1, stream, version, event, kinds)? || known)
    }
    fn select(before: &Self::Before, first: usize, to: &mut Selection) {
        A::select(&before.0, first, to);
        B::select(&before.1, first + A::TABLES, to);
    }
    fn read(before: &mut Self::Before, table: usize, record: &[u8]) -> Result<(), Malformed> {
        match table.checked_sub(A::TABLES) {
            None => A::read(&mut before.0, table, record),
            Some(table) => B::read(&mut before.1, table, record),
        }
    }
    fn model(before: &mut Self::Before) -> Result<Self::Model, CannotFold> {
        Ok((A::model(&mut before.0)?, B::model(&mut before.1)?))
    }
    fn difference(
        before: Self::Before,
        model: &Self::Model,
        changes: &mut [TableChange],
        derived: &mut Self::Derived,
    ) -> Result<(), CannotFold> {
        let (first, second) = changes.split_at_mut(A::TABLES.min(changes.len()));
        A::difference(before.0, &model.0, first, &mut derived.0)?;
        B::difference(before.1, &model.1, second, &mut derived.1)
    }
    fn drain(
        model: Self::Model,
        first: usize,
        part: &mut Part,
        derived: &mut Self::Derived,
        each: &mut dyn FnMut(&mut Part),
    ) -> Result<(), CannotFold> {
        A::drain(model.0, first, part, &mut derived.0, each)?;
        B::drain(model.1, first + A::TABLES, part, &mut derived.1, each)
    }
}

/// The projection that several are together: `several![A, B]`.
#[macro_export]
macro_rules! several {
    () => { () };
    ($first:ty $(, $more:ty)* $(,)?) => { ($first, $crate::several![$($more),*]) };
}

/// Folds one event of a stream into some kinds of key.
pub fn fold<P: Projection>(
    model: &mut P::Model,
    stream: StreamName,
    version: Version,
    event: &Event,
    kinds: Kinds,
) -> Result<(), CannotFold> {
    if P::fold(model, stream, version, event, kinds)? {
        Ok(())
    } else {
        Err(CannotFold(format!("{} is an event that no read model is made of", event.event_type())))
    }
}
