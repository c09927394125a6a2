//! The local issuer: makes, rotates and retires signing keys, and signs access tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use events::{EmployeeId, TenantId};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use sqlx::PgPool;

use super::token::{Claims, TYPE};
use crate::{Config, Keys, READ_MODEL_VERSION, read_schema};

/// What to put into a token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The subject; opaque.
    pub subject: String,
    /// The tenant.
    pub tenant: TenantId,
    /// Its slug.
    pub slug: String,
    /// The names of its roles: built-in ones ([`crate::access::BUILT_IN`]) or the tenant's own.
    pub roles: Vec<String>,
    /// The person that the subject is, where they are employed by the tenant.
    pub employee: Option<EmployeeId>,
    /// The log-in that it comes of, with which it can be revoked.
    pub session: Option<uuid::Uuid>,
    /// How long it lives, in seconds; at most `TENURE_TOKEN_MAX_LIFETIME`: 600, or 86,400 where `tenure up` sets that for
    /// its private system.
    pub lifetime_s: u64,
}

/// Issues tokens: the local issuer. Keys stand in `platform.signing_key`, wrapped by the master key.
pub struct Issuer {
    kid: String,
    key: EncodingKey,
    iss: String,
    aud: String,
    max_lifetime: u64,
}

impl Issuer {
    /// Loads the newest signing key that every verifier knows by now, or makes the first one. `pool` must be the owner's,
    /// or the log-in's: the other roles can't read private keys, and only the owner can make one.
    pub async fn open(config: &Config, pool: &PgPool, keys: &Keys) -> anyhow::Result<Self> {
        let newest = "select kid, private_key from platform.signing_key where retired_at is null and algorithm = 'EdDSA'
                      order by created_at < now() - interval '5 seconds' desc, created_at desc, kid desc limit 1";
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as(newest).fetch_optional(pool).await.context("reading the signing keys as the owner")?;
        let (kid, wrapped) = match row {
            Some(row) => row,
            None => Self::rotate(pool, keys).await?,
        };
        let pkcs8 = keys.master().unwrap_bytes(&context(&kid), &wrapped)?;
        Ok(Self {
            key: EncodingKey::from_ed_der(&pkcs8),
            kid,
            iss: config.issuer.clone(),
            aud: config.audience.clone(),
            max_lifetime: config.token_max_lifetime,
        })
    }
    /// Makes a new signing key, which the next [`Issuer::open`] uses; tokens of older ones stay valid until
    /// [`Issuer::retire`]. Returns its id and its wrapped private part.
    pub async fn rotate(pool: &PgPool, keys: &Keys) -> anyhow::Result<(String, Vec<u8>)> {
        let pair = Ed25519KeyPair::generate().map_err(|_| anyhow!("the operating system gives no random bytes"))?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| anyhow!("a fresh key does not encode"))?;
        let kid = uuid::Uuid::now_v7().simple().to_string();
        let wrapped = keys.master().wrap(&context(&kid), pkcs8.as_ref());
        sqlx::query("insert into platform.signing_key (kid, algorithm, public_key, private_key) values ($1, 'EdDSA', $2, $3)")
            .bind(&kid)
            .bind(pair.public_key().as_ref())
            .bind(&wrapped)
            .execute(pool)
            .await
            .context("writing a signing key as the owner")?;
        tracing::info!(target: "audit", kid, "signing key made");
        Ok((kid, wrapped))
    }
    /// Retires a signing key: its tokens are refused everywhere within five seconds.
    pub async fn retire(pool: &PgPool, kid: &str) -> anyhow::Result<()> {
        let retired = sqlx::query("update platform.signing_key set retired_at = now() where kid = $1 and retired_at is null")
            .bind(kid)
            .execute(pool)
            .await?;
        if retired.rows_affected() == 0 {
            bail!("there is no signing key {kid} in use");
        }
        tracing::info!(target: "audit", kid, "signing key retired");
        Ok(())
    }
    /// The id of the key that signs.
    pub fn kid(&self) -> &str {
        &self.kid
    }
    /// A signed access token, `typ: at+jwt`.
    pub fn issue(&self, request: &TokenRequest) -> anyhow::Result<SecretString> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
        self.issue_at(request, now)
    }
    /// As [`Issuer::issue`], by another clock: seconds since 1970.
    pub fn issue_at(&self, request: &TokenRequest, now: u64) -> anyhow::Result<SecretString> {
        if request.lifetime_s == 0 || request.lifetime_s > self.max_lifetime {
            bail!("a token may live 1 to {} seconds (TENURE_TOKEN_MAX_LIFETIME), not {}", self.max_lifetime, request.lifetime_s);
        }
        let claims = Claims {
            iss: self.iss.clone(),
            aud: self.aud.clone(),
            sub: request.subject.clone(),
            jti: uuid::Uuid::now_v7().to_string(),
            sid: request.session.map(|id| id.to_string()),
            iat: now,
            exp: now + request.lifetime_s,
            nbf: None,
            tenant_id: Some(request.tenant.namespace()),
            tenant_slug: Some(request.slug.clone()),
            schema_name: Some(read_schema(request.tenant, READ_MODEL_VERSION)),
            roles: request.roles.clone(),
            employee_id: request.employee.map(|id| id.to_string()),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.into());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.key).map(SecretString::from).context("signing the token")
    }
}

fn context(kid: &str) -> String {
    format!("signing\n{kid}")
}
