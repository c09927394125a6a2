//! E-mail addresses of accounts: what they are found by, and how they are kept.

use events::TenantScope;
use http::StatusCode;
use platform::Problem;
use uuid::Uuid;

use crate::state::Identity;

impl Identity {
    /// The address in the one form in which addresses are compared.
    pub(crate) fn normalized_email(&self, text: &str) -> Result<String, Problem> {
        (self.email_rule)(text.trim()).map_err(|why| {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("email {why}"));
            problem.field("/email", "invalid_email", why)
        })
    }
    /// What an e-mail address is found by.
    pub(crate) async fn email_digest(&self, scope: TenantScope, email: &str) -> Result<[u8; 32], Problem> {
        Ok(self.keys.claim_digest(scope, "login_email", email).await?)
    }
    /// What an account may be found by whose address is typed so: its digest, and that of the form of earlier builds where that
    /// is another.
    pub(crate) async fn email_digests(&self, scope: TenantScope, typed: &str, email: &str) -> Result<Vec<Vec<u8>>, Problem> {
        let mut digests = vec![self.email_digest(scope, email).await?.to_vec()];
        if let Some(earlier) = earlier_email(typed).filter(|earlier| earlier != email) {
            digests.push(self.email_digest(scope, &earlier).await?.to_vec());
        }
        Ok(digests)
    }
    pub(crate) fn seal_email(&self, scope: TenantScope, user: Uuid, email: &str) -> Vec<u8> {
        self.keys.seal(&email_context(scope, user), email.as_bytes())
    }
    pub(crate) fn open_email(&self, scope: TenantScope, user: Uuid, sealed: &[u8]) -> Result<String, Problem> {
        let bytes = self.keys.open_sealed(&email_context(scope, user), sealed)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| Problem::internal(&error))
    }
}

/// The form in which earlier builds compared addresses: accounts that were made under it, and have another one now or none,
/// are still found by it.
pub(crate) fn earlier_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let good = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.') && !domain.contains('@'))
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    good.then_some(email)
}

fn email_context(scope: TenantScope, user: Uuid) -> String {
    format!("login email\n{}\n{user}", scope.tenant())
}
