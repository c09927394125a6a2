//! HTTP to command, decide, append.
//!
//! A handler takes a [`platform::Editor`] or a [`platform::Operator`], so it can't be reached without the checks; it
//! reads the command, and [`execute`] loads, decides, seals and appends. One module per capability: [`tenancy`],
//! [`organization`], [`employee`]; [`batch`] for many commands at once; and [`identity`], which decides who gets in.

pub mod batch;
pub mod employee;
pub mod execute;
pub mod identity;
pub mod organization;
pub mod tenancy;

mod access;
mod aggregate;
mod aggregates;
mod answers;
mod locks;
mod openapi;
mod order;
mod places;
mod problems;
mod reach;
mod request;
mod route;
mod router;
mod service;
mod turns;

pub use router::{App, openapi_json, router, strangers};
pub use service::run;
