//! The cases with numbers, the rules of requests, and properties of any sequence of operations.

mod cases;
mod fixtures;
mod plans;
mod properties;
mod record;
