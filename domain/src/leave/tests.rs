//! The cases with numbers.

mod cases;
mod fixtures;
