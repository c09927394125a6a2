//! The cases with numbers, and plans of any policy.

mod cases;
mod fixtures;
mod plans;
