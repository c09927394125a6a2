//! HTTP to command.
//!
//! A handler takes a [`platform::Editor`] or a [`platform::Operator`], so it can't be reached without the checks; it
//! reads the command, and [`execution`] loads, decides, seals and appends. One module per capability: [`tenancy`],
//! [`organization`], [`employee`]; and `batch` for many commands at once. The routes of [`identity`], which decides who gets in,
//! are served along.

pub mod employee;
pub mod leave;
pub mod organization;
pub mod tenancy;

mod app;
mod batch;
mod contract;
mod openapi;
mod request;
mod respond;
mod route;
mod router;
mod service;

pub use app::App;
pub use batch::BatchLimits;
pub use identity::Logins;
pub use router::{openapi_json, router, strangers};
pub use service::{logins, run};
