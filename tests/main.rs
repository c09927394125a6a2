//! One integration binary. A file per topic; servers come from [`servers`].

mod servers;

mod access;
mod attacks;
mod bad_input;
mod cancellation;
mod capabilities;
mod commands;
mod contract;
mod eventstore_appends;
mod eventstoredb;
mod faults;
mod feed;
mod handed_out;
mod history;
mod hostile;
mod identity;
mod import;
mod isolation;
mod leavers;
mod log_index;
mod oidc;
mod overload;
mod platform;
mod projection;
mod queries;
mod rebuild;
mod recovery;
mod repository;
mod rights;
mod store_conformance;
mod telemetry;
mod tls;
mod today;
mod up;
mod worker;
