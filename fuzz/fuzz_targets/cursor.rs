//! Cursors, and the other parameters of a list.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| query_api::fuzzing::parameters(text));
