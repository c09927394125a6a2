//! Passwords: Argon2id (RFC 9106), and what may be one (NIST SP 800-63B: length, and nothing that is about the account).

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{self, Output, ParamsString, PasswordHash, SaltString},
};
use http::StatusCode;
use platform::Problem;

use crate::{
    hashing::{Asker, HashQueue},
    random::secret,
};

/// 19 MiB, two passes, one lane: the OWASP recommendation.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Characters of a password.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;

/// Hashes and verifies on threads of its own, as many at a time as there are cores.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: HashQueue,
    /// What is hashed in, of whoever is not at work: as many as there were at once, so at most one per core. Were it given back
    /// each time, the C library would keep some for each thread that had it: 700 MB after 500 log-ins.
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    /// Of no password: who has none takes as long as who has one.
    nobody: Arc<str>,
}

impl Passwords {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let nobody = hash(&secret()?, &mut Vec::new()).map_err(|error| anyhow::anyhow!("Argon2id does not work here: {error}"))?;
        Ok(Self { turns: HashQueue::of(cores), memories: Arc::default(), nobody: nobody.into() })
    }
    /// Whether the password is that of the hash. Without a hash: no, after as long.
    pub(crate) async fn verify(&self, asker: Asker, password: String, stored: Option<String>) -> Result<bool, Problem> {
        let (known, stored) = (stored.is_some(), stored.unwrap_or_else(|| self.nobody.to_string()));
        let good = self.run(asker, move |memory| is_of(&password, &stored, memory));
        Ok(good.await? && known)
    }
    /// The hash to store.
    pub(crate) async fn hash(&self, asker: Asker, password: String) -> Result<String, Problem> {
        self.run(asker, move |memory| hash(&password, memory)).await?.map_err(|error| Problem::internal(&error))
    }
    async fn run<T: Send + 'static>(&self, asker: Asker, work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static) -> Result<T, Problem> {
        let Some(turn) = self.turns.take(asker).await else {
            return Err(Problem::unavailable("overloaded", "too many log-ins are in work; try again shortly"));
        };
        let memories = Arc::clone(&self.memories);
        let done = tokio::task::spawn_blocking(move || {
            let free = || memories.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = free().pop().unwrap_or_default();
            let result = work(&mut memory);
            free().push(memory);
            drop(turn);
            result
        });
        done.await.map_err(|error| Problem::internal(&error))
    }
}

fn hash(password: &str, memory: &mut Vec<Block>) -> password_hash::Result<String> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| password_hash::Error::Crypto)?;
    let salt = SaltString::encode_b64(&salt)?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)?;
    let mut hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(salt.as_salt()),
        hash: None,
    };
    hash.hash = Some(output(password, &hash, memory)?);
    Ok(hash.to_string())
}

fn is_of(password: &str, stored: &str, memory: &mut Vec<Block>) -> bool {
    // Outputs are compared in constant time.
    PasswordHash::new(stored).is_ok_and(|hash| hash.hash.is_some() && output(password, &hash, memory).ok() == hash.hash)
}

/// By the parameters and the salt of a hash.
fn output(password: &str, of: &PasswordHash<'_>, memory: &mut Vec<Block>) -> password_hash::Result<Output> {
    let version = of.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let hasher = Argon2::new(Algorithm::try_from(of.algorithm)?, version, Params::try_from(of)?);
    let mut salt = [0; 64];
    let salt = of.salt.ok_or(password_hash::Error::PhcStringField)?.decode_b64(&mut salt)?;
    // What another password left there is overwritten before it is read.
    memory.resize(hasher.params().block_count(), Block::new());
    Output::init_with(hasher.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN), |out| {
        Ok(hasher.hash_password_into_with_memory(password.as_bytes(), salt, out, memory)?)
    })
}

/// 422 `weak_password` unless the text may be the password of this address.
pub(crate) fn check(password: &str, email: &str) -> Result<(), Problem> {
    let length = password.chars().count();
    let distinct = password.chars().collect::<std::collections::BTreeSet<_>>().len();
    let (lower, local) = (password.to_lowercase(), email.split('@').next().unwrap_or_default());
    let why = if !(SHORTEST..=LONGEST).contains(&length) {
        format!("a password has {SHORTEST} to {LONGEST} characters; a few words that only you would put together are good")
    } else if distinct < 5 {
        "the password repeats too few characters".to_owned()
    } else if local.len() >= 4 && lower.contains(local) {
        "the password holds the e-mail address".to_owned()
    } else {
        return Ok(());
    };
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "weak_password", why.clone());
    Err(problem.field("/password", "weak_password", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker() -> Asker {
        Asker::Known("x".into())
    }

    #[tokio::test]
    async fn only_the_password_itself_opens() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash(asker(), "correct horse battery".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify(asker(), "correct horse battery".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(asker(), "correct horse batterx".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(asker(), "correct horse battery".into(), None).await.unwrap());
        assert!(!passwords.verify(asker(), String::new(), Some("nonsense".into())).await.unwrap());
        assert_ne!(passwords.hash(asker(), "correct horse battery".into()).await.unwrap(), stored, "salted");
    }

    #[test]
    fn what_is_left_in_memory_changes_nothing() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let mut memory = Vec::new();
        let first = hash("correct horse battery", &mut memory).unwrap();
        let second = hash("another horse battery", &mut memory).unwrap();
        for (password, stored) in [("correct horse battery", &first), ("another horse battery", &second)] {
            assert!(is_of(password, stored, &mut memory));
            // As the library has it, with memory of its own.
            Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(stored).unwrap()).unwrap();
        }
        assert!(!is_of("correct horse battery", &second, &mut memory));
        // By the hash's own parameters, which may become others.
        let dearer = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(2 * MEMORY_KIB, 1, 1, None).unwrap());
        let dearer = dearer.hash_password(b"correct horse battery", &SaltString::encode_b64(&[7; 16]).unwrap()).unwrap().to_string();
        assert!(is_of("correct horse battery", &dearer, &mut memory) && is_of("another horse battery", &second, &mut memory));
        assert!(!is_of("correct horse battery", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", &mut memory), "a hash without an output");
    }

    #[tokio::test]
    async fn memory_is_kept_for_as_many_as_are_at_work_at_once() {
        let passwords = Passwords::new().unwrap();
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let hashed = (0..3 * cores).map(|_| passwords.hash(asker(), "correct horse battery".into()));
        assert!(futures::future::join_all(hashed).await.iter().all(Result::is_ok));
        let kept = passwords.memories.lock().unwrap().len();
        assert!((1..=cores).contains(&kept), "{kept}");
    }

    #[test]
    fn weak_passwords_are_named() {
        for (password, good) in [
            ("correct horse battery", true),
            ("ünïcödé päßwörter", true),
            ("short", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("jane.doe-jane.doe", false),
        ] {
            assert_eq!(check(password, "jane.doe@example.com").is_ok(), good, "{password}");
        }
    }
}
