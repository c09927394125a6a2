//! What is kept of a session: its tokens, in memory, under the digest of what stands in the cookie.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use moka::future::Cache;
use platform::Problem;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::upstream::{Forwarded, Small, Upstream};

/// Sessions at most, of about 2 kB each. Whoever was quiet for longest logs in again where there are more.
const AT_MOST: u64 = 50_000;
/// As long as a log-in lasts without being used, and at most (`identity`).
const IDLE: Duration = Duration::from_hours(24);
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// A token that ends within this time is exchanged first: a request may wait that long before it is looked at.
const AHEAD: Duration = Duration::from_secs(40);
/// For the exchange of tokens, which others may be waiting for.
const EXCHANGE: Duration = Duration::from_secs(10);

/// All sessions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions(Cache<[u8; 32], Arc<Session>>);

/// One of them.
pub(crate) struct Session {
    /// At which host, and so of which tenant.
    begun_at: Forwarded,
    tokens: Mutex<Tokens>,
}

struct Tokens {
    access: SecretString,
    /// When the access token is to be exchanged.
    until: Instant,
    refresh: SecretString,
}

/// As the command API gives them.
#[derive(Deserialize)]
pub(crate) struct Granted {
    access_token: String,
    expires_in: u64,
    refresh_token: String,
    pub(crate) device: Option<String>,
}

/// Why there is no token.
pub(crate) enum NoToken {
    /// The session is over.
    Ended,
    /// The exchange was refused for now, with this answer.
    Refused(Box<Small>),
    /// It could not be made.
    Unavailable(Problem),
}

impl From<Granted> for Tokens {
    fn from(granted: Granted) -> Self {
        let lifetime = Duration::from_secs(granted.expires_in);
        // A token with a short life is exchanged after half of it, so that not every request exchanges one.
        let until = Instant::now() + lifetime.saturating_sub(AHEAD).max(lifetime / 2);
        Self { access: granted.access_token.into(), until, refresh: granted.refresh_token.into() }
    }
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(AT_MOST).time_to_idle(IDLE).time_to_live(LONGEST).build())
    }
    /// Begins one; what stands in its cookie.
    pub(crate) async fn begin(&self, granted: Granted, begun_at: Forwarded) -> anyhow::Result<String> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).context("the operating system gives no random bytes")?;
        let cookie = URL_SAFE_NO_PAD.encode(bytes);
        self.0.insert(key(&cookie), Arc::new(Session { begun_at, tokens: Mutex::new(granted.into()) })).await;
        Ok(cookie)
    }
    /// The session of a cookie.
    pub(crate) async fn find(&self, cookie: &str) -> Option<Arc<Session>> {
        self.0.get(&key(cookie)).await
    }
    /// Forgets one, and ends its log-in. By a task: whoever asked may go away.
    pub(crate) async fn end(&self, cookie: &str, upstream: &Upstream) {
        let Some(session) = self.0.remove(&key(cookie)).await else { return };
        let upstream = upstream.clone();
        let ended = tokio::spawn(async move {
            let refresh = session.tokens.lock().await.refresh.clone();
            let body = serde_json::json!({ "refresh_token": refresh.expose_secret() });
            match timeout(EXCHANGE, upstream.post("/v1/auth/logout", &body, &session.begun_at)).await {
                Ok(Ok(answer)) if answer.status == StatusCode::NO_CONTENT => {}
                _ => tracing::warn!("a log-in could not be ended at the command API; it ends by itself after a day without use"),
            }
        });
        let _ = ended.await;
    }
}

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

impl Session {
    /// A token that is good for a while. `refused` is one that an API did not take any more.
    pub(crate) async fn token(self: &Arc<Self>, upstream: &Upstream, refused: Option<&SecretString>) -> Result<SecretString, NoToken> {
        let (session, upstream) = (self.clone(), upstream.clone());
        let refused = refused.cloned();
        // By a task: a refresh token works once, so an exchange that has begun must be noted, also where the browser went away.
        let exchange = tokio::spawn(async move { session.current(&upstream, refused.as_ref()).await });
        exchange.await.unwrap_or_else(|error| Err(NoToken::Unavailable(Problem::internal(&error))))
    }

    /// One exchange at a time: whoever waited for another's takes what that gave.
    async fn current(&self, upstream: &Upstream, refused: Option<&SecretString>) -> Result<SecretString, NoToken> {
        let mut tokens = self.tokens.lock().await;
        let is_refused = refused.is_some_and(|refused| refused.expose_secret() == tokens.access.expose_secret());
        if !is_refused && Instant::now() < tokens.until {
            return Ok(tokens.access.clone());
        }
        let body = serde_json::json!({ "refresh_token": tokens.refresh.expose_secret() });
        let asked = timeout(EXCHANGE, upstream.post("/v1/auth/refresh", &body, &self.begun_at)).await;
        let answer = match asked {
            Ok(answer) => answer.map_err(NoToken::Unavailable)?,
            Err(_) => {
                return Err(NoToken::Unavailable(Problem::unavailable("timeout", "the log-in could not be renewed in time; try again")));
            }
        };
        if answer.status == StatusCode::OK {
            let granted: Granted = serde_json::from_slice(&answer.body).map_err(|error| NoToken::Unavailable(Problem::internal(&error)))?;
            *tokens = granted.into();
            return Ok(tokens.access.clone());
        }
        match answer.code().as_str() {
            "invalid_grant" | "access_ended" => Err(NoToken::Ended),
            _ => Err(NoToken::Refused(answer.into())),
        }
    }
}
