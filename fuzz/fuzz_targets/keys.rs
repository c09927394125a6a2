//! Key sets of external issuers, as they come over the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|set: &[u8]| platform::auth::fuzzing::foreign_keys(set));
