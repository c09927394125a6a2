//! Access tokens: whole ones, and headers and claims that the issuer's own key signed.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    platform::auth::fuzzing::verify(text);
    let (head, claims) = text.split_once('\n').unwrap_or(("", text));
    platform::auth::fuzzing::verify_signed(head, claims);
});
