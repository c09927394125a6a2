//! Careers straight into the store by COPY, sealed as the command API seals, in as many tenants as wanted.

use std::ops::Range;

use events::{EmployeeId, TenantScope};
use futures::{StreamExt as _, TryStreamExt as _, stream};
pub use hot::careers::{Fact, career, department, employee, events, fact, names, raise};
use uuid::Uuid;

use crate::{
    copy::{CopyRows, Row, fill},
    system::System,
};

/// Events of one COPY.
const PART: u64 = 50_000;

/// Fills empty tenants with so many people each. Events written.
pub async fn fill_tenants(system: &System, scopes: &[TenantScope], people: u32) -> anyhow::Result<u64> {
    let each = events(people);
    let of = |scope: TenantScope| (0..each.div_ceil(PART)).map(move |n| (scope, n * PART..((n + 1) * PART).min(each)));
    let parts: Vec<_> = scopes.iter().copied().flat_map(of).collect();
    fill(system.database(), parts, async |(scope, range)| rows(system, scope, people, range).await).await?;
    Ok(each * scopes.len() as u64)
}

async fn rows(system: &System, scope: TenantScope, people: u32, range: Range<u64>) -> anyhow::Result<CopyRows> {
    let facts = stream::iter(range.clone().zip(range.map(|n| fact(scope, people, n))));
    let sealed = facts.map(|(n, fact)| async move {
        let (stream, version, mut event) = fact?;
        if event.has_personal() {
            let key = system.keys.person_or_create(scope, EmployeeId::from_uuid(stream.id())).await?;
            event.seal(stream, |_| Some(&key))?;
        }
        anyhow::Ok((n, stream, version, event))
    });
    let mut rows = CopyRows::default();
    let mut sealed = sealed.buffered(512);
    while let Some((n, stream, version, event)) = sealed.try_next().await? {
        rows.push(&Row {
            tenant: scope.tenant().uuid(),
            position: n + 1,
            category: stream.category().name(),
            stream: stream.id(),
            version,
            id: Uuid::now_v7(),
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            data: event.to_data()?.get(),
            command: Uuid::now_v7(),
        });
    }
    Ok(rows)
}
