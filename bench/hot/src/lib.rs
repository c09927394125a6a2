//! What the benchmarks and `hot` share: careers as events. It depends on pure code only, so the program that counts
//! instructions is built with the others.

pub mod careers;
