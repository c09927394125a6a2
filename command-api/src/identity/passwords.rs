//! Passwords: Argon2id (RFC 9106), and what may be one (NIST SP 800-63B: length, and nothing that is about the account).

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString},
};
use http::StatusCode;
use platform::Problem;
use tokio::sync::Semaphore;

/// 19 MiB, two passes, one lane: the OWASP recommendation.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Characters of a password.
const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// How long a log-in waits for its turn, within what a request may take: on two cores that are idle until some thousand others
/// had theirs, on two that are busy until some hundreds.
const TURN: Duration = Duration::from_secs(25);

/// Hashes and verifies on threads of its own, as many at a time as there are cores.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Of no password: who has none takes as long as who has one.
    nobody: Arc<str>,
}

impl Passwords {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let nobody = hash(&super::secret()?).map_err(|error| anyhow::anyhow!("Argon2id does not work here: {error}"))?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), nobody: nobody.into() })
    }
    /// Whether the password is that of the hash. Without a hash: no, after as long.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Problem> {
        let (known, stored) = (stored.is_some(), stored.unwrap_or_else(|| self.nobody.to_string()));
        let good = self.run(move || {
            let Ok(parsed) = PasswordHash::new(&stored) else { return false };
            hasher().is_ok_and(|hasher| hasher.verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(good.await? && known)
    }
    /// The hash to store.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        self.run(move || hash(&password)).await?.map_err(|error| Problem::internal(&error))
    }
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let turn = tokio::time::timeout(TURN, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::unavailable("overloaded", "too many log-ins are in work; try again shortly"));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|error| Problem::internal(&error))
    }
}

fn hasher() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, 1, None)?))
}

fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| argon2::password_hash::Error::Crypto)?;
    Ok(hasher()?.hash_password(password.as_bytes(), &SaltString::encode_b64(&salt)?)?.to_string())
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

    #[tokio::test]
    async fn only_the_password_itself_opens() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse battery".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse batterx".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse battery".into(), None).await.unwrap());
        assert!(!passwords.verify(String::new(), Some("nonsense".into())).await.unwrap());
        assert_ne!(passwords.hash("correct horse battery".into()).await.unwrap(), stored, "salted");
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
