//! Personal data in events: clear in memory, sealed in the store, gone for ever once the person's key is destroyed.
//!
//! A [`Personal`] field is sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) under the person's data key. The
//! associated data binds tenant, stream, event type and field, so a sealed value moved anywhere else does not open.
//! Keys are kept apart from events (`platform::keys`); this module does no I/O.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{
    AeadCore, AeadInPlace, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{OsRng, Payload, rand_core::RngCore},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::StreamName;

const PREFIX: &str = "xc1:";

/// A field that identifies a person.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal<T> {
    /// Readable. Refuses to be serialized: clear personal data can't reach the store, a log or a message by accident.
    Clear(T),
    /// Sealed text, as stored: `xc1:` and base64 of nonce and ciphertext.
    Sealed(String),
    /// The key was destroyed; what stood here can't be known any more.
    Erased,
}

impl<T> Personal<T> {
    /// The value, if it is readable.
    pub const fn clear(&self) -> Option<&T> {
        match self {
            Self::Clear(value) => Some(value),
            Self::Sealed(_) | Self::Erased => None,
        }
    }
    /// Takes the value out, if it is readable.
    pub fn into_clear(self) -> Option<T> {
        match self {
            Self::Clear(value) => Some(value),
            Self::Sealed(_) | Self::Erased => None,
        }
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Personal(clear)",
            Self::Sealed(_) => "Personal(sealed)",
            Self::Erased => "Personal(erased)",
        })
    }
}
impl<T> Serialize for Personal<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sealed(text) => s.serialize_str(text),
            Self::Erased => s.serialize_str("erased"),
            Self::Clear(_) => Err(serde::ser::Error::custom("personal data must be sealed before it is written")),
        }
    }
}
impl<'de, T> Deserialize<'de> for Personal<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.as_str() {
            "erased" => Ok(Self::Erased),
            sealed if sealed.starts_with(PREFIX) => Ok(Self::Sealed(text)),
            _ => Err(serde::de::Error::custom("a personal field holds sealed text")),
        }
    }
}

/// Why a value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Altered, moved from another place, or sealed with another key.
    #[error("the sealed field {0:?} does not open with this person's key")]
    DoesNotOpen(&'static str),
    /// The person's key is not where keys are kept, and nobody destroyed it: the key store is damaged or another one.
    #[error("the key of the sealed field {0:?} is missing, though it was not destroyed")]
    KeyMissing(&'static str),
    /// Opened, but is not what the field holds: written by a newer version.
    #[error("the field {0:?} holds something unknown")]
    Unreadable(&'static str),
}

/// A person's 256-bit data key. Wiped from memory when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct PersonKey([u8; 32]);

impl PersonKey {
    /// A fresh key from the operating system's generator.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        OsRng.fill_bytes(&mut bytes);
        Self(bytes)
    }
    /// The key with these bytes, as unwrapped from the key store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The key's bytes, for wrapping.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}
impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonKey(…)")
    }
}

/// What the key store says of a person's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// It is there.
    Held(PersonKey),
    /// It was destroyed, which is written down: the person was erased.
    Destroyed,
    /// There is none. Where something was sealed with it that is a breakage.
    Missing,
}

/// Where a sealed value stands. It opens there and nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct SealContext {
    /// The stream that holds the event.
    pub stream: StreamName,
    /// The event's type.
    pub event_type: &'static str,
    /// The field in the event's data.
    pub field: &'static str,
}

impl SealContext {
    fn associated_data(&self) -> String {
        // The stream's name starts with the tenant's namespace. No part can hold the separator.
        format!("{}\n{}\n{}", self.stream, self.event_type, self.field)
    }
}

/// A personal field without its type, so that one function can seal or open any of them.
pub trait PersonalField {
    /// Seals a clear value; leaves a sealed or erased one as it is.
    fn seal(&mut self, context: SealContext, key: &PersonKey) -> Result<(), SealError>;
    /// Opens a sealed value, or marks it erased where the key was destroyed; leaves a clear one as it is.
    fn open(&mut self, context: SealContext, key: &KeyState) -> Result<(), SealError>;
}

impl<T: Serialize + DeserializeOwned> PersonalField for Personal<T> {
    fn seal(&mut self, context: SealContext, key: &PersonKey) -> Result<(), SealError> {
        let Self::Clear(value) = self else { return Ok(()) };
        let mut plain = serde_json::to_vec(value).map_err(|_| SealError::Unreadable(context.field))?;
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = chacha20poly1305::aead::Aead::encrypt(
            &key.cipher(),
            &nonce,
            Payload { msg: &plain, aad: context.associated_data().as_bytes() },
        )
        .map_err(|_| SealError::DoesNotOpen(context.field));
        plain.zeroize();
        let mut out = nonce.to_vec();
        out.extend_from_slice(&sealed?);
        *self = Self::Sealed(format!("{PREFIX}{}", STANDARD_NO_PAD.encode(out)));
        Ok(())
    }

    fn open(&mut self, context: SealContext, key: &KeyState) -> Result<(), SealError> {
        let Self::Sealed(text) = self else { return Ok(()) };
        let key = match key {
            KeyState::Held(key) => key,
            KeyState::Destroyed => {
                *self = Self::Erased;
                return Ok(());
            }
            KeyState::Missing => return Err(SealError::KeyMissing(context.field)),
        };
        let bad = || SealError::DoesNotOpen(context.field);
        let bytes = STANDARD_NO_PAD.decode(text.strip_prefix(PREFIX).ok_or_else(bad)?).map_err(|_| bad())?;
        let (nonce, sealed) = bytes.split_at_checked(24).ok_or_else(bad)?;
        let mut plain = sealed.to_vec();
        key.cipher().decrypt_in_place(XNonce::from_slice(nonce), context.associated_data().as_bytes(), &mut plain).map_err(|_| bad())?;
        let value = serde_json::from_slice(&plain).map_err(|_| SealError::Unreadable(context.field));
        plain.zeroize();
        *self = Self::Clear(value?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmployeeId, TenantId, TenantScope};

    fn place(tenant: u128, field: &'static str) -> SealContext {
        let scope = TenantScope::checked(TenantId::from_uuid(uuid::Uuid::from_u128(tenant)));
        SealContext { stream: StreamName::employee(scope, EmployeeId::from_uuid(uuid::Uuid::nil())), event_type: "EmployeeHired", field }
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_in_its_place() {
        let key = PersonKey::generate();
        let mut sealed = Personal::Clear("Ada".to_owned());
        assert!(serde_json::to_string(&sealed).is_err(), "clear personal data must not serialize");
        sealed.seal(place(1, "person"), &key).unwrap();
        let json = serde_json::to_string(&sealed).unwrap();
        assert!(!json.contains("Ada"));
        let stored: Personal<String> = serde_json::from_str(&json).unwrap();

        let mut opened = stored.clone();
        let key = KeyState::Held(key);
        opened.open(place(1, "person"), &key).unwrap();
        assert_eq!(opened, Personal::Clear("Ada".to_owned()));
        let another = KeyState::Held(PersonKey::generate());
        for (at, key) in [(place(2, "person"), &key), (place(1, "contact"), &key), (place(1, "person"), &another)] {
            assert!(stored.clone().open(at, key).is_err());
        }
        let mut gone = stored.clone();
        gone.open(place(1, "person"), &KeyState::Destroyed).unwrap();
        assert_eq!(gone, Personal::Erased);
        // A key that is missing is no erasure; what holds nothing sealed needs none.
        assert_eq!(stored.clone().open(place(1, "person"), &KeyState::Missing), Err(SealError::KeyMissing("person")));
        gone.open(place(1, "person"), &KeyState::Missing).unwrap();
    }
}
