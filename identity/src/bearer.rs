//! Secrets that are sent as they are: tickets, refresh tokens, machines' credentials.

use std::sync::Arc;

use events::TenantId;
use http::request::Parts;
use platform::{Problem, Tenant, TenantState};
use sha2::{Digest as _, Sha256};

use crate::{random::secret, state::Identity};

/// A secret that stands for itself: `{kind}_{namespace}_{256 random bits}`. Only its digest is kept.
pub(crate) struct Bearer(pub(crate) String);

impl Bearer {
    pub(crate) fn fresh(kind: &str, tenant: TenantId) -> Result<Self, Problem> {
        let secret = secret().map_err(|error| Problem::internal(&error))?;
        Ok(Self(format!("{kind}_{}_{secret}", tenant.namespace())))
    }
    /// The tenant that it names, if it has the shape of this kind.
    pub(crate) fn read(kind: &str, text: &str) -> Option<(Self, TenantId)> {
        let (namespace, secret) = text.strip_prefix(kind)?.strip_prefix('_')?.split_once('_')?;
        let tenant = namespace.parse().ok()?;
        (secret.len() == 43).then(|| (Self(text.to_owned()), tenant))
    }
    pub(crate) fn digest(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }
}

impl Identity {
    /// The tenant that a bearer secret names and the request does not deny.
    pub(crate) fn bearer(&self, kind: &str, text: &str, parts: &Parts) -> Result<Option<(Bearer, Arc<Tenant>)>, Problem> {
        let Some((bearer, id)) = Bearer::read(kind, text) else { return Ok(None) };
        let named = match self.gate.tenant_named(parts) {
            Ok(tenant) => tenant,
            // Neither host nor header name one: then the secret alone does.
            Err(problem) if problem.code == "invalid_tenant" && self.gate.names_no_tenant(parts) => self.gate.registry().by_id(id),
            Err(problem) => return Err(problem),
        };
        // While a tenant is set up there is no secret of its, and no key to count attempts by.
        let there = |tenant: &Arc<Tenant>| tenant.id == id && tenant.state != TenantState::Registered;
        Ok(named.filter(there).map(|tenant| (bearer, tenant)))
    }
}
