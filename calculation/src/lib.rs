//! What follows from facts by arithmetic alone. The rules decide on it and the reads show it, so that both count alike.
//!
//! A calculation is a pure function: no clock, no chance, no I/O. It needs the rules of nobody, and `query-api`, which may not
//! depend on `domain`, uses it as `domain` does.

#![deny(clippy::disallowed_methods)]

pub mod leave;
