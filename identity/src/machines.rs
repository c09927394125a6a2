//! Service accounts: machines with a secret and roles as narrow as their work.

use axum::{Json, extract::State};
use http::{StatusCode, request::Parts};
use platform::{
    Problem, UserAdmin,
    request::{Fields, PathId},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    attempts::By,
    audit::audit,
    bearer::Bearer,
    rights::{check_duties_held, check_roles},
    state::{Logins, not_found, scope_of},
    tokens::{Subject, Void, exposed},
};

/// A machine that is to get in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateServiceAccount {
    /// What it is, for people; 1 to 100 characters.
    name: String,
    /// What it may do.
    roles: Vec<String>,
}

/// A machine's way in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Credential {
    /// The account.
    account_id: Uuid,
    /// For `POST /v1/auth/service-token`. It is shown only here.
    credential: String,
}

/// A machine that gets in, or did.
#[derive(Serialize, FromRow, ToSchema)]
pub(crate) struct ServiceAccount {
    /// The account.
    account_id: Uuid,
    /// What it is.
    name: String,
    /// What it may do.
    roles: Vec<String>,
    /// Whether it is kept out.
    disabled: bool,
}

fn subject(account: Uuid) -> String {
    format!("service:{account}")
}

/// Make a service account. The answer holds its credential.
#[utoipa::path(post, path = "/v1/service-accounts", tag = "identity", request_body = CreateServiceAccount, responses(
    (status = 201, description = "Made", body = Credential),
    (status = 422, description = "`unknown_role`"),
))]
pub(crate) async fn create_service_account(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    Fields(ask): Fields<CreateServiceAccount>,
) -> Result<(StatusCode, Json<Credential>), Problem> {
    let identity = logins.get()?;
    if !(1..=100).contains(&ask.name.chars().count()) || ask.name.chars().any(char::is_control) {
        let detail = "a name has 1 to 100 characters";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field("/name", "invalid_name", detail));
    }
    let (account, credential) = (Uuid::now_v7(), Bearer::fresh("ts", actor.tenant.id)?);
    let mut tx = identity.begin(actor.scope).await?;
    check_roles(&mut tx, &actor, &ask.roles).await?;
    sqlx::query("insert into platform.service_account (tenant_id, account_id, name, roles, secret_digest) values ($1, $2, $3, $4, $5)")
        .bind(actor.tenant.id.uuid())
        .bind(account)
        .bind(&ask.name)
        .bind(&ask.roles)
        .bind(credential.digest())
        .execute(tx.conn())
        .await?;
    audit(&mut tx, actor.scope, "create_service_account", "granted", Some(&subject(account)), Some(&actor)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Credential { account_id: account, credential: credential.0 })))
}

/// List service accounts.
#[utoipa::path(get, path = "/v1/service-accounts", tag = "identity", responses(
    (status = 200, description = "At most 1,000", body = Vec<ServiceAccount>),
))]
pub(crate) async fn service_accounts(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
) -> Result<Json<Vec<ServiceAccount>>, Problem> {
    let mut tx = logins.get()?.begin(actor.scope).await?;
    let accounts = sqlx::query_as(
        "select account_id, name, roles, disabled_at is not null as disabled
         from platform.service_account where tenant_id = $1 order by account_id limit 1000",
    )
    .bind(actor.tenant.id.uuid())
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(Json(accounts))
}

/// Keep a service account out for good; its tokens end within seconds.
#[utoipa::path(post, path = "/v1/service-accounts/{id}/disabling", tag = "identity",
    params(("id" = Uuid, Path, description = "The account")), responses(
    (status = 204, description = "Disabled, or so already"),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn disable_service_account(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(account): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let roles: Option<Vec<String>> = sqlx::query_scalar(
        "update platform.service_account set disabled_at = coalesce(disabled_at, now()) where tenant_id = $1 and account_id = $2 returning roles",
    )
    .bind(actor.tenant.id.uuid())
    .bind(account)
    .fetch_optional(tx.conn())
    .await?;
    let Some(roles) = roles else {
        tx.rollback().await?;
        return Err(not_found());
    };
    // As for people: those who decide about others stay.
    check_duties_held(&mut tx, &actor, &roles).await?;
    identity.end_delegations(&mut tx, actor.scope, &subject(account)).await?;
    identity.revoke(&mut tx, actor.scope, &subject(account), Void::All).await?;
    audit(&mut tx, actor.scope, "disable_service_account", "granted", Some(&subject(account)), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a machine gets a token with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLogIn {
    /// As the account's making gave it.
    #[schema(format = Password)]
    credential: String,
}

/// A machine's token.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServiceToken {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds until it ends.
    expires_in: u64,
}

/// Get an access token for a machine.
#[utoipa::path(post, path = "/v1/auth/service-token", tag = "identity", security(()), request_body = ServiceLogIn, responses(
    (status = 200, description = "The token", body = ServiceToken),
    (status = 401, description = "`invalid_credentials`"),
    (status = 402, description = "`subscription_expired`"),
    (status = 403, description = "`tenant_suspended`"),
    (status = 404, description = "`tenant_not_found`"),
    (status = 429, description = "`rate_limited`: too many at once from there"),
))]
pub(crate) async fn service_token(
    State(logins): State<Logins>,
    parts: Parts,
    Fields(ask): Fields<ServiceLogIn>,
) -> Result<Json<ServiceToken>, Problem> {
    let refused = || Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "the credential is not right, or disabled");
    let identity = logins.get()?;
    let (credential, tenant) = identity.bearer("ts", &ask.credential, &parts)?.ok_or_else(refused)?;
    let scope = scope_of(&tenant);
    let mut tx = identity.begin(scope).await?;
    // By the digest of 256 random bits: there is nothing to guess, nothing to time, and nothing to count before it is looked at.
    // Held, so that who disables the account comes before the token, or after it.
    let found: Option<(Uuid, Vec<String>, i64)> = sqlx::query_as(
        "select account_id, roles, floor(extract(epoch from clock_timestamp()))::bigint
         from platform.service_account where tenant_id = $1 and secret_digest = $2 and disabled_at is null for share",
    )
    .bind(tenant.id.uuid())
    .bind(credential.digest())
    .fetch_optional(tx.conn())
    .await?;
    let Some((account, roles, issued_at)) = found else {
        tx.rollback().await?;
        identity.write_down_seldom(scope, "service_token", "refused", By::Place(identity.gate.origin(&parts))).await?;
        return Err(refused());
    };
    if let Err(problem) = identity.gate.serves(&tenant) {
        tx.rollback().await?;
        identity.write_down_seldom(scope, "service_token", "not_served", By::Subject(&subject(account))).await?;
        return Err(problem);
    }
    audit(&mut tx, scope, "service_token", "granted", Some(&subject(account)), None).await?;
    tx.commit().await?;
    let subject = Subject { name: subject(account), roles, employee: None, session: None, issued_at };
    let (token, expires_in) = identity.access_token(&tenant, subject).await?;
    Ok(Json(ServiceToken { access_token: exposed(&token), token_type: "Bearer", expires_in }))
}
