//! Events to rows.
//!
//! The pure part is [`fold`] with a module per capability ([`organization`], [`employee`]) over the tables of [`rows`], which
//! travel as [`binary`] says. Its edges are [`apply`], for live batches and healing, with its SQL in [`batch`], and
//! [`rebuild`]; [`digest`] compares what they make. [`consume`] drives them from the feed, for the partitions that [`lease`]
//! holds; [`rebuilder`] decides when a rebuild is sooner done.

pub mod fold;

pub mod employee;
pub mod organization;

pub mod binary;
pub mod headcount;
pub mod rows;
pub mod top;

pub mod apply;
pub mod batch;
mod busy;
pub mod digest;
pub mod rebuild;
pub mod rebuilder;

pub mod consume;
pub mod lease;
