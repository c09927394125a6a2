//! Seals what a cursor holds: clients carry it in URLs, and it may name a person.

use std::fmt;

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use sqlx::PgPool;
use zeroize::Zeroizing;

/// Bytes of the nonce that stands before what is sealed.
const NONCE: usize = 24;

/// The key of a deployment's cursors. Cheap to clone.
#[derive(Clone)]
pub struct CursorKey {
    cipher: XChaCha20Poly1305,
    nonces: Hmac<Sha256>,
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(…)")
    }
}

impl CursorKey {
    /// The key that all processes of this database share.
    pub async fn load(pool: &PgPool) -> anyhow::Result<Self> {
        let key: Vec<u8> = sqlx::query_scalar("select key from platform.cursor_key").fetch_one(pool).await?;
        let key =
            Zeroizing::new(<[u8; 32]>::try_from(key).map_err(|_| anyhow::anyhow!("the cursor key has another length than 32 bytes"))?);
        Ok(Self::new(&key))
    }

    /// With these bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        let nonces = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes a key of any length");
        Self { cipher: XChaCha20Poly1305::new(key.into()), nonces }
    }

    /// Seals `text`, to be opened beside the same `beside` only. The same gives the same: the nonce is a digest of both, so two cursors
    /// that are equal say no more than that.
    pub fn seal(&self, beside: &[u8], text: &[u8]) -> Vec<u8> {
        let mut digest = self.nonces.clone();
        digest.update(&(beside.len() as u64).to_be_bytes());
        digest.update(beside);
        digest.update(text);
        let digest = digest.finalize().into_bytes();
        let (nonce, _) = digest.split_at(NONCE);
        let mut sealed = nonce.to_vec();
        let payload = Payload { msg: text, aad: beside };
        sealed.extend(self.cipher.encrypt(XNonce::from_slice(nonce), payload).expect("a cursor is far below the cipher's limit"));
        sealed
    }

    /// What was sealed beside this; none where it was altered, or sealed beside something else or with another key.
    pub fn open(&self, beside: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        self.cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: beside }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_here_opens() {
        let (key, other) = (CursorKey::new(&[7; 32]), CursorKey::new(&[8; 32]));
        let sealed = key.seal(b"list", b"Bader");
        assert_eq!(key.open(b"list", &sealed).as_deref(), Some(&b"Bader"[..]));
        assert_eq!(sealed, key.seal(b"list", b"Bader"));
        assert_ne!(sealed[..NONCE], key.seal(b"lis", b"tBader")[..NONCE]);
        assert_eq!((key.open(b"other", &sealed), other.open(b"list", &sealed), key.open(b"list", &sealed[..20])), (None, None, None));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open(b"list", &altered), None);
        }
        assert!(!sealed.windows(5).any(|part| part == b"Bader"));
        assert_eq!(format!("{key:?}"), "CursorKey(…)");
    }
}
