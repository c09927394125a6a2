//! A store that was put back to an earlier state, under running services: what was remembered of the history that is no more is
//! not believed, whoever remembers it.

use events::{StreamName, TenantScope, Version};
use serde_json::json;
use sqlx::{Executor as _, PgPool};

use crate::commands::{in_world, pay};

/// Puts a tenant's events, claims and head back to a position, as a restore of the event store alone would.
pub(crate) async fn go_back(superuser: &PgPool, scope: TenantScope, position: u64) {
    let tenant = scope.tenant().uuid();
    let statements = format!(
        "begin; set local session_replication_role = replica;
         delete from event_store.event where tenant_id = '{tenant}' and position > {position};
         delete from event_store.claim c where tenant_id = '{tenant}'
             and not exists (select from event_store.event e where e.tenant_id = c.tenant_id and e.stream_id = c.stream_id);
         update event_store.tenant_head h set position = {position},
             (event_id, recorded_at) = (select e.event_id, (extract(epoch from e.recorded_at) * 1000000)::bigint
                 from event_store.event e where e.tenant_id = h.tenant_id and e.position = {position})
             where h.tenant_id = '{tenant}'; commit"
    );
    superuser.execute(statements.as_str()).await.unwrap();
}

/// Two services have read what is lost then. Commands that are lost and sent again with their keys are executed anew, and what is
/// decided rests on what the store has, also where others have taken the versions and positions that were lost.
#[test]
fn a_command_is_decided_on_what_the_store_has() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let company = world.company(&tenant).await;
        let raise = |amount: &str, day: &str| json!({"effective_on": day, "pay": pay(amount), "reason": "review"});
        let (raises, name) = (company.path("compensation-changes"), format!("/v1/departments/{}/name", company.department));
        let stand = world.head(tenant.scope).await;
        let lost = [
            (raises.as_str(), "raise", raise("1500", "2011-01-01")),
            (name.as_str(), "name", json!({"effective_on": "2001-01-01", "name": "Renamed"})),
            ("/v1/employees", "hire", company.hire("2")),
        ];
        for (path, key, body) in &lost {
            world.on(0, &tenant, path, key, body).await.done();
            // The other service has read it too: it finds nothing to do.
            if *key != "hire" {
                assert_eq!(world.on(1, &tenant, path, "", body).await.done()["events"], json!([]));
            }
        }
        go_back(world.owner(), tenant.scope, stand).await;
        for (n, (path, key, body)) in lost.iter().enumerate() {
            let again = world.on(n % 2, &tenant, path, key, body).await.done();
            assert_eq!((again["replayed"].as_bool(), again["events"].as_array().unwrap().len()), (Some(false), 1), "{key}: {again}");
            assert_eq!(again["position"], stand + 1 + n as u64, "{key}: {again}");
            let twice = world.on(0, &tenant, path, key, body).await.done();
            assert_eq!(
                (&twice["replayed"], &twice["position"]),
                (&json!(true), &again["position"]),
                "{key}: once, however often it is sent"
            );
        }
        assert_eq!(world.head(tenant.scope).await, stand + 3);

        // One service goes on with what the other has read otherwise: at the same version stands another raise.
        for body in [raise("1600", "2012-01-01"), raise("1700", "2013-01-01")] {
            world.on(0, &tenant, &raises, "", &body).await.done();
        }
        go_back(world.owner(), tenant.scope, stand + 4).await;
        world.on(1, &tenant, &raises, "", &raise("9000", "2013-01-01")).await.done();
        let same = world.on(0, &tenant, &raises, "", &raise("1700", "2013-01-01")).await.done();
        assert_eq!(same["events"].as_array().unwrap().len(), 1, "what was lost is not taken for what is there: {same}");
        world.on(0, &tenant, &raises, "", &raise("1800", "2014-01-01")).await.done();
        go_back(world.owner(), tenant.scope, stand + 6).await;
        world.on(1, &tenant, &raises, "", &raise("2000", "2014-01-01")).await.done();
        let next = world.on(0, &tenant, &raises, "", &raise("2000", "2014-01-01")).await.done();
        assert_eq!(next["events"], json!([]), "it was decided on what the other wrote: {next}");
        let stream = StreamName::employee(tenant.scope, company.employee.parse().unwrap());
        let versions: Vec<u64> =
            world.store().read_stream(stream, Version::ZERO, 100).await.unwrap().iter().map(|event| event.version.0).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    });
}
