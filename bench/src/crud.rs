//! What many would build instead: a server on axum and sqlx that changes someone's pay in one transaction. The row is locked,
//! changed and its change kept in a history table; an idempotency key is honoured; the token is verified on every request.
//! It keeps no events, no order, no read models, and does not encrypt.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Executor as _, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// Few more than a machine of this size keeps busy.
const CONNECTIONS: u32 = 32;
const SECRET: &[u8] = b"a secret of 32 bytes, of the bench";

const TABLES: &str = "create schema crud;
    create table crud.employee (tenant_id uuid, employee_id uuid, version bigint not null, effective_on date not null,
        amount numeric not null, currency text not null, per text not null, updated_at timestamptz not null, primary key (tenant_id, employee_id));
    create table crud.compensation_history (tenant_id uuid, employee_id uuid, version bigint, effective_on date not null, amount numeric not null,
        currency text not null, per text not null, reason text not null, changed_by text not null, changed_at timestamptz not null,
        primary key (tenant_id, employee_id, version));
    create table crud.idempotency (tenant_id uuid, key text, body jsonb not null, version bigint not null, primary key (tenant_id, key));";

#[derive(Clone)]
struct App {
    pool: PgPool,
    key: Arc<DecodingKey>,
    rules: Arc<Validation>,
}

/// The server, with its tables in this database and so many employees; its base URL and a token.
pub async fn serve(database: PgConnectOptions, employees: &[Uuid]) -> anyhow::Result<(String, String)> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(database).await?;
    pool.execute(TABLES).await?;
    let tenant = Uuid::now_v7();
    sqlx::query("insert into crud.employee select $1, id, 1, '2000-01-01', 60000, 'USD', 'year', now() from unnest($2::uuid[]) id")
        .bind(tenant)
        .bind(employees)
        .execute(&pool)
        .await?;
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_audience(&["crud"]);
    rules.set_issuer(&["crud"]);
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = Claims { sub: "bench".into(), tenant, role: "hr".into(), iss: "crud".into(), aud: "crud".into(), exp: now + 86_400 };
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET))?;
    let app = App { pool, key: Arc::new(DecodingKey::from_secret(SECRET)), rules: Arc::new(rules) };
    let routes = Router::new().route("/v1/employees/{id}/compensation-changes", post(change_compensation)).with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), routes).into_future());
    Ok((base, token))
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    tenant: Uuid,
    role: String,
    iss: String,
    aud: String,
    exp: u64,
}

/// Who asks: an HR person of a tenant.
struct Hr(Claims);

impl FromRequestParts<App> for Hr {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let token = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.ok_or(Refusal(StatusCode::UNAUTHORIZED, "send a bearer token"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &app.key, &app.rules);
        let claims = claims.map_err(|_| Refusal(StatusCode::UNAUTHORIZED, "the token is not valid"))?.claims;
        if claims.role == "hr" { Ok(Self(claims)) } else { Err(Refusal(StatusCode::FORBIDDEN, "this is HR's")) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeCompensation {
    effective_on: jiff::civil::Date,
    pay: Pay,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    rate: Money,
    per: Per,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Money {
    #[serde(with = "rust_decimal::serde::str")]
    amount: Decimal,
    currency: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Per {
    Year,
    Month,
    Hour,
}

impl ChangeCompensation {
    fn validate(&self) -> Result<(), Refusal> {
        let Money { amount, currency } = &self.pay.rate;
        let refuse = |why| Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, why));
        if amount.is_sign_negative() || amount.is_zero() || amount.scale() > 2 {
            return refuse("the amount must be above zero, with two digits after the point at most");
        }
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return refuse("the currency must be an ISO 4217 code");
        }
        if self.reason.is_empty() || self.reason.len() > 100 {
            return refuse("the reason must have 1 to 100 characters");
        }
        Ok(())
    }
}

async fn change_compensation(
    State(app): State<App>,
    Hr(claims): Hr,
    Path(employee): Path<Uuid>,
    headers: HeaderMap,
    Json(change): Json<ChangeCompensation>,
) -> Result<Response, Refusal> {
    change.validate()?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.ok_or(Refusal(StatusCode::BAD_REQUEST, "send an Idempotency-Key"))?;
    let body = json!(change);
    let (effective_on, per) = (change.effective_on.to_string(), &body["pay"]["per"].as_str().unwrap_or_default());
    let Money { amount, currency } = &change.pay.rate;

    let mut tx = app.pool.begin().await?;
    let version: Option<i64> = sqlx::query_scalar("select version from crud.employee where tenant_id = $1 and employee_id = $2 for update")
        .bind(claims.tenant)
        .bind(employee)
        .fetch_optional(&mut *tx)
        .await?;
    let version = version.ok_or(Refusal(StatusCode::NOT_FOUND, "there is no such employee"))? + 1;
    let new = sqlx::query("insert into crud.idempotency (tenant_id, key, body, version) values ($1, $2, $3, $4) on conflict do nothing")
        .bind(claims.tenant)
        .bind(key)
        .bind(&body)
        .bind(version)
        .execute(&mut *tx)
        .await?;
    if new.rows_affected() == 0 {
        let (known, version): (serde_json::Value, i64) =
            sqlx::query_as("select body, version from crud.idempotency where tenant_id = $1 and key = $2")
                .bind(claims.tenant)
                .bind(key)
                .fetch_one(&mut *tx)
                .await?;
        tx.rollback().await?;
        return if known == body {
            Ok(answer(employee, version))
        } else {
            Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "the key was used for another request"))
        };
    }
    sqlx::query(
        "update crud.employee set version = $3, effective_on = $4::date, amount = $5::numeric, currency = $6, per = $7, updated_at = now()
         where tenant_id = $1 and employee_id = $2",
    )
    .bind(claims.tenant)
    .bind(employee)
    .bind(version)
    .bind(&effective_on)
    .bind(amount.to_string())
    .bind(currency)
    .bind(per)
    .execute(&mut *tx)
    .await?;
    sqlx::query("insert into crud.compensation_history values ($1, $2, $3, $4::date, $5::numeric, $6, $7, $8, $9, now())")
        .bind(claims.tenant)
        .bind(employee)
        .bind(version)
        .bind(&effective_on)
        .bind(amount.to_string())
        .bind(currency)
        .bind(per)
        .bind(&change.reason)
        .bind(&claims.sub)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(answer(employee, version))
}

fn answer(employee: Uuid, version: i64) -> Response {
    ([("etag", format!("\"{version}\""))], Json(json!({"employee_id": employee, "version": version}))).into_response()
}

/// What went wrong, and the status that says so.
struct Refusal(StatusCode, &'static str);

impl From<sqlx::Error> for Refusal {
    fn from(_: sqlx::Error) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "the database is away")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"detail": self.1}))).into_response()
    }
}
