//! Careers as events, which the benchmarks and the program `hot` share. The crate depends on no benchmark, so `hot` is built together
//! with the programs of the product.

pub mod careers;
