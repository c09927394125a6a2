//! `tenure-query-api`: serves every read.

fn main() {}
