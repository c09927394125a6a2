//! Events to rows.
//!
//! The pure part is [`fold`] with a folder per capability: its tables, its kinds of key, what is worked out from their rows.
//! [`projection`] puts the kinds of all together, [`derived`] the tables that are worked out, and [`table`] says what is written,
//! as [`binary`] has it. Its edges are [`apply`], for live batches and healing, with its SQL in [`batch`], and [`rebuild`];
//! [`digest`] compares what they make. [`consume`] drives them from the feed, for the partitions that [`store::partition_lease`] holds;
//! [`rebuilder`] decides when a rebuild is sooner done.

pub mod projection;

pub mod binary;
pub mod derived;
pub mod fold;
pub mod table;

pub mod employee;
pub mod leave;
pub mod organization;

pub mod apply;
pub mod batch;
mod busy;
pub mod digest;
pub mod rebuild;
pub mod rebuilder;

pub mod consume;
mod foreign;

macro_rules! projections {
    (platform [$($platform:ident { $($platform_kinds:tt)* })*] tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]) => {
        /// The projections of all capabilities that write to their tenant's log.
        pub type Capabilities = several![$($tenants::Projection),*];
    };
}
events::capabilities!(projections);
