//! What fuzzing drives; not in any build but that.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::token::{Expected, VerificationKey, Verifier};

fn verifier() -> &'static (Arc<Verifier>, Ed25519KeyPair) {
    static VERIFIER: OnceLock<(Arc<Verifier>, Ed25519KeyPair)> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
        let key = VerificationKey::new("EdDSA", pair.public_key().as_ref().to_vec()).expect("a key");
        let expected = Expected { issuer: "tenure".into(), audience: "tenure".into(), max_lifetime: 600 };
        (Verifier::fixed(expected, [("k".to_owned(), key)].into()), pair)
    })
}

/// Verifies a token; nothing that comes from outside is good.
pub fn verify(token: &str) {
    let verified = verifier().0.verify(token);
    assert!(verified.is_err(), "a token that nobody signed");
}

/// Verifies a header and claims that our own key signed.
pub fn verify_signed(head: &str, claims: &str) {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(verifier().1.sign(text.as_bytes())));
    let _ = verifier().0.verify(&token);
}

/// Reads what an external issuer gives for its keys.
pub fn foreign_keys(set: &[u8]) {
    let _ = super::external::read(set);
}
