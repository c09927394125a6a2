//! The demo company.

use crate::{home::Home, output::Steps, system::Addresses};

/// Its slug.
pub const SLUG: &str = "demo";

/// Makes it, if it is not there.
pub async fn seed(_home: &Home, _addresses: &Addresses, _seed: u64, _steps: &mut Steps) -> anyhow::Result<()> {
    Ok(())
}

/// A token for it, if it is there.
pub async fn token(_home: &Home, _addresses: &Addresses) -> Option<String> {
    None
}
