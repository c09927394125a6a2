//! The rules: decide and evolve, one module per HR capability. Pure.
