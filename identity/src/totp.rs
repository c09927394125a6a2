//! Time-based one-time passwords (RFC 6238): six digits each half minute, each of which works once.

use events::TenantScope;
use http::StatusCode;
use platform::{Keys, Problem, ScopedTx};
use totp_rs::{Algorithm, TOTP};
use uuid::Uuid;

const STEP: u64 = 30;
/// Clocks may differ by one step.
const SKEW: u64 = 1;

/// A secret that is about to be set up.
pub(crate) struct Fresh {
    /// As it is kept.
    pub(crate) sealed: Vec<u8>,
    /// For the user's app: `otpauth://…`.
    pub(crate) url: String,
}

/// Makes a secret.
pub(crate) fn fresh(keys: &Keys, scope: TenantScope, user: Uuid, label: &str) -> Result<Fresh, Problem> {
    let mut secret = [0; 20];
    aws_lc_rs::rand::fill(&mut secret).map_err(|error| Problem::internal(&error))?;
    // A colon parts issuer and account in the URL.
    let totp = TOTP::new(Algorithm::SHA1, 6, 1, STEP, secret.to_vec(), Some("Tenure".into()), label.replace(':', " "));
    let url = totp.map_err(|error| Problem::internal(&error))?.get_url();
    Ok(Fresh { sealed: keys.seal(&context(scope, user), &secret), url })
}

/// The time step whose code this is, around now.
fn step_of(keys: &Keys, scope: TenantScope, user: Uuid, sealed: &[u8], code: &str) -> Result<Option<i64>, Problem> {
    let secret = keys.open_sealed(&context(scope, user), sealed)?;
    let totp = TOTP::new(Algorithm::SHA1, 6, 1, STEP, secret.to_vec(), None, String::new()).map_err(|error| Problem::internal(&error))?;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default() / STEP;
    // All steps are compared, whichever fits.
    let fits = (now - SKEW..=now + SKEW)
        .filter(|step| aws_lc_rs::constant_time::verify_slices_are_equal(totp.generate(step * STEP).as_bytes(), code.as_bytes()).is_ok());
    Ok(fits.max().and_then(|step| i64::try_from(step).ok()))
}

/// Whether the code is good and was not used before; afterwards it was.
pub(crate) async fn take(
    keys: &Keys,
    tx: &mut ScopedTx,
    scope: TenantScope,
    user: Uuid,
    sealed: &[u8],
    code: &str,
) -> Result<bool, Problem> {
    let Some(step) = step_of(keys, scope, user, sealed, code)? else { return Ok(false) };
    let taken = sqlx::query("update platform.user_account set totp_step = $3 where tenant_id = $1 and user_id = $2 and totp_step < $3")
        .bind(scope.tenant().uuid())
        .bind(user)
        .bind(step)
        .execute(tx.conn())
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// 422: the code does not fit.
pub(crate) fn wrong_code() -> Problem {
    let detail = "the code is not the one that the app shows now, or it was used already; wait for the next one";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_code", detail).field("/code", "wrong_code", detail)
}

fn context(scope: TenantScope, user: Uuid) -> String {
    format!("totp\n{}\n{user}", scope.tenant())
}
