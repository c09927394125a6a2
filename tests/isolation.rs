//! The layers between tenants (I4): each one alone holds when all before it are gone round, and the others hold with any one
//! of them switched off.

use std::time::Duration;

use events::{
    Effective, EmployeeId, Event, KeyState, Personal, Position, RecordedEvent, StreamName, TenantId, TenantScope,
    employee::{EmployeeEvent, PersonalDetailsChange, PersonalDetailsChanged},
};
use jiff::civil::date;
use platform::{Access, TenantTx, provision::LOGINS};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, error::DatabaseError, postgres::PgRow};
use store::{
    feed,
    nats::{NatsSettings, connect},
};

use crate::{
    attacks::Battlefield,
    feed::forged,
    servers::{Stopped, System, own_nats, own_static_system_with},
};

async fn battlefield(env: &[(&'static str, String)]) -> (Battlefield, Stopped) {
    let (system, stopped) = own_static_system_with(env).await;
    (Battlefield::over(system).await, stopped)
}

/// What switches a layer off, run by a superuser, and what puts it back.
struct Layer {
    name: &'static str,
    off: &'static str,
    on: &'static str,
    /// What no other layer holds, and so is not tried while this one is off.
    alone: &'static [Denial],
}

/// Something that an attacker tries on the database, with the code gone round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    /// Other tenants' rows of shared tables, as a process's login role that names no tenant or its own.
    Rows,
    /// Another tenant's schema, as a tenant's reader.
    ForeignSchema,
    /// Another role or another schema, by `set_config` in injected SQL.
    Settings,
    /// Shared tables that hold ids only and have no row-level security, in injected SQL.
    Routing,
    /// All the rest.
    Other,
}

/// Puts another definition in the place of each function of the store that reads; `definition` is the one it has.
macro_rules! rewrite_reads {
    ($to:literal) => {
        concat!(
            "do $$ declare definition text; begin
                 for definition in select pg_get_functiondef(oid) from pg_proc where pronamespace = 'event_store'::regnamespace and proname ~ '^read_' loop
                     execute ", $to, ";
                 end loop;
             end $$"
        )
    };
}

const LAYERS: &[Layer] = &[
    Layer {
        alone: &[Denial::Rows],
        name: "row-level security on shared tables",
        off: "do $$ declare t regclass; begin
                  for t in select oid from pg_class where relrowsecurity loop execute format('alter table %s disable row level security', t); end loop;
              end $$",
        on: "do $$ declare t regclass; begin
                  for t in select oid from pg_class where relforcerowsecurity loop execute format('alter table %s enable row level security', t); end loop;
             end $$",
    },
    Layer {
        alone: &[Denial::ForeignSchema],
        name: "a database role per tenant: every role reads every schema",
        off: "do $$ declare s text; r text; begin
                  for s in select nspname from pg_namespace where nspname ~ '^t_' loop
                      for r in select rolname from pg_roles where rolname ~ '^t_' loop
                          execute format('grant usage on schema %I to %I', s, r);
                          execute format('grant select on all tables in schema %I to %I', s, r);
                      end loop;
                  end loop;
              end $$",
        on: "do $$ declare s text; r text; begin
                 for s in select nspname from pg_namespace where nspname ~ '^t_' loop
                     for r in select rolname from pg_roles where rolname ~ '^t_' and s not like rolname || '\\_r%' loop
                         execute format('revoke all on schema %I from %I', s, r);
                         execute format('revoke all on all tables in schema %I from %I', s, r);
                     end loop;
                 end loop;
             end $$",
    },
    Layer {
        alone: &[Denial::Settings, Denial::Routing],
        name: "nothing for PUBLIC, and no dangerous functions",
        off: "grant usage on schema platform, event_store, public to public; grant select on all tables in schema platform to public;
              grant execute on function set_config(text, text, boolean), query_to_xml(text, boolean, boolean, text) to public",
        on: "revoke usage on schema platform, event_store, public from public; revoke select on all tables in schema platform from public;
             revoke execute on function set_config(text, text, boolean), query_to_xml(text, boolean, boolean, text) from public",
    },
    Layer {
        alone: &[],
        name: "least rights of the login roles: each may do what all may",
        off: "grant tenure_command to tenure_query; grant tenure_projector to tenure_query, tenure_command; alter role tenure_query inherit; alter role tenure_command inherit",
        on: "revoke tenure_command from tenure_query; revoke tenure_projector from tenure_query, tenure_command; alter role tenure_query noinherit; alter role tenure_command noinherit",
    },
    Layer {
        alone: &[],
        name: "the store's look at whose a row is: each row says it is whoever's was asked for",
        off: rewrite_reads!(r"regexp_replace(definition, ', e\.tenant_id(\s+from)', ', p_tenant\1')"),
        on: rewrite_reads!(r"regexp_replace(definition, ', p_tenant(\s+from)', ', e.tenant_id\1')"),
    },
    Layer {
        alone: &[],
        name: "the conditions of the store's reads: only row-level security and the row itself say whose it is",
        off: rewrite_reads!("replace(definition, 'e.tenant_id = p_tenant and', 'true and')"),
        on: rewrite_reads!("replace(definition, 'where true and', 'where e.tenant_id = p_tenant and')"),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_others_hold_with_any_one_layer_of_the_database_switched_off() {
    let (field, _stopped) = battlefield(&[]).await;
    let admin = field_pool(&field).await;
    eprintln!("with all layers on: {} requests, no foreign byte", field.scan().await);
    for layer in LAYERS {
        admin.execute(layer.off).await.unwrap_or_else(|error| panic!("switching off {}: {error}", layer.name));
        let requests = field.scan().await;
        let (statements, calls) = tokio::join!(the_database_holds(&field, &admin, layer.alone), the_broker_holds(field.system()));
        eprintln!(
            "without {}: {requests} requests, no foreign byte; {statements} statements and {calls} calls of the broker denied",
            layer.name
        );
        admin.execute(layer.on).await.unwrap_or_else(|error| panic!("switching on {}: {error}", layer.name));
    }
    field.scan().await;
    the_database_holds(&field, &admin, &[]).await;
    eprintln!("{} layers of the database switched off in turn", LAYERS.len());
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_hold_on_a_broker_that_lets_everybody_do_everything() {
    let nats = own_nats().await;
    let (field, _stopped) = battlefield(&[("NATS_URL", nats.clone())]).await;
    let (context, system) = (async_nats::jetstream::new(client(&nats, None).await), field.system());
    // Whoever likes publishes what never happened, in each tenant's own place in the log.
    for (token, tenant) in field.tokens().into_iter().zip(field.tenants()) {
        let head = system.settled(token).await;
        let like = RecordedEvent { tenant, ..an_event(&context).await };
        for position in [head + 1, i64::MAX.unsigned_abs()] {
            let event = forged(&like, Position(position));
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(feed::POSITION, position.to_string().as_str());
            headers.insert(feed::PREVIOUS, head.to_string().as_str());
            let subject = feed::subject(tenant, event.stream.category(), &event.event_type).unwrap();
            context.publish_with_headers(subject, headers, feed::encode(&event).into()).await.unwrap().await.unwrap();
        }
        let department = serde_json::json!({"effective_on": "2000-01-01", "code": "after", "name": "after"});
        let (status, answer) = system.post(token, "/v1/departments", "after-the-forged-ones", &department).await;
        assert_eq!(status, 201, "{answer}");
        system.settled(token).await;
        let departments = system.get(token, "/v1/departments").await.to_string();
        assert!(departments.contains("after") && !departments.contains("Forged"), "{departments}");
    }
    let admin = field_pool(&field).await;
    let (requests, statements) = (field.scan().await, the_database_holds(&field, &admin, &[]).await);
    eprintln!("without rights at the broker: {requests} requests, no foreign byte; {statements} statements denied; no forged event");
    admin.close().await;
}

/// Any event that is on the feed.
async fn an_event(context: &async_nats::jetstream::Context) -> RecordedEvent {
    let stream = context.get_stream(feed::STREAM).await.unwrap();
    let message = stream.get_raw_message(stream.get_info().await.unwrap().state.last_sequence).await.unwrap();
    feed::decode(&message.subject, &message.payload).unwrap()
}

async fn client(url: &str, credentials: Option<(String, String)>) -> async_nats::Client {
    let process = match credentials.as_ref().map(|(user, _)| user.as_str()) {
        None | Some("relay") => "relay",
        Some("worker") => "worker",
        Some(_) => "projector",
    };
    connect(&NatsSettings { url: url.into(), credentials, process }).await.unwrap()
}

/// Code, tokens and schemas gone round: what row-level security and the roles let through by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_holds_by_itself() {
    let (field, _stopped) = battlefield(&[]).await;
    let admin = field_pool(&field).await;
    let shared: Vec<String> = sqlx::query_scalar("select oid::regclass::text from pg_class where relforcerowsecurity order by 1")
        .fetch_all(&admin)
        .await
        .unwrap();
    assert!(shared.len() > 10, "{shared:?}");
    // Every table that has a tenant's rows beside another's has forced row-level security, or says why it has not.
    let open: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relkind in ('r', 'p') and not c.relforcerowsecurity order by 1",
    )
    .fetch_all(&admin)
    .await
    .unwrap();
    // Opaque ids, counters and routing that each service needs of all tenants before it knows which one asks.
    let routing = [
        "event_store.log_head",
        "event_store.relay_cursor",
        "event_store.tenant_head",
        "platform.access_version",
        "platform.external_issuer",
        "platform.parked",
        "platform.revocation",
        "platform.tenant_domain",
        "worker.agenda",
    ];
    assert!(open.iter().all(|table| routing.contains(&table.as_str())), "{open:?} are open: force row-level security, or say why not");
    eprintln!("{} statements tried on the database alone", the_database_holds(&field, &admin, &[]).await);
    admin.close().await;
}

/// Tries on the database what its layers deny, but what is held by a layer alone that is off; how many statements that were.
async fn the_database_holds(field: &Battlefield, admin: &PgPool, off: &[Denial]) -> u32 {
    let [own, other] = field.tenants();
    let mut tried = 0;
    if !off.contains(&Denial::Rows) {
        tried += no_foreign_rows(admin, own, other).await;
    }
    let foreign = format!("t_{other}_r{}", platform::READ_MODEL_VERSION);
    let tries = |all: Vec<(Denial, String)>| all.into_iter().filter(|(denial, _)| !off.contains(denial)).map(|(_, sql)| sql);
    // A tenant's own role, taken by whoever may take it, reaches that tenant's schemas only.
    let mut connection = PgConnection::connect_with(&admin.connect_options()).await.unwrap();
    for (taken, read) in [(format!("t_{own}"), Denial::ForeignSchema), (format!("w_{own}"), Denial::Other)] {
        connection.execute(format!("set role \"{taken}\"").as_str()).await.unwrap();
        for sql in tries(vec![
            (read, format!("select * from \"{foreign}\".employee")),
            (Denial::Other, format!("create table \"{foreign}\".x ()")),
            (Denial::Other, "select * from event_store.event".to_owned()),
            (Denial::Other, "select * from platform.user_account".to_owned()),
        ]) {
            let gave = connection.fetch_all(sql.as_str()).await;
            is_denied_or_empty(gave, &format!("{taken}: {sql}"));
            tried += 1;
        }
        connection.execute("reset role").await.unwrap();
    }
    connection.close().await.unwrap();
    // What is injected into a statement of the query API runs in the tenant's transaction.
    let query = platform::database::pool_options(1)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("set session authorization tenure_query").await.map(drop) })
        })
        .connect_lazy_with(admin.connect_options().as_ref().clone());
    let schema = platform::read_schema(own, platform::READ_MODEL_VERSION);
    for sql in tries(vec![
        (Denial::ForeignSchema, format!("select * from {foreign}.employee")),
        (Denial::Settings, "select set_config('role', 'tenure_query', true)".into()),
        (Denial::Settings, format!("select set_config('search_path', '{foreign}', true)")),
        (Denial::Other, format!("select query_to_xml('select * from {foreign}.employee', true, true, '')")),
        (Denial::Other, "select * from ts_stat('select 1')".into()),
        (Denial::Other, "select pg_advisory_lock(hashtextextended('tenure.bootstrap', 0))".into()),
        (Denial::Other, "select * from event_store.event".into()),
        (Denial::Other, "select * from event_store.read_log(gen_random_uuid(), 0, 1)".into()),
        (Denial::Routing, "select tenant_id from platform.parked".into()),
        (Denial::Other, "select * from platform.person_key".into()),
        (Denial::Other, "select * from platform.user_account".into()),
        (Denial::Other, "select pg_read_file('/etc/passwd')".into()),
        (Denial::Other, format!("select platform.create_tenant_roles('{own}')")),
        (Denial::Other, format!("select platform.drop_read_schema('{other}', '{foreign}')")),
        (Denial::Other, "select rolpassword from pg_authid".into()),
        (Denial::Other, "create table x ()".into()),
        (Denial::Other, "create schema x".into()),
        (Denial::Other, "insert into job_span select * from job_span".into()),
    ]) {
        let mut tx = TenantTx::begin(&query, TenantScope::checked(own), &schema, Access::Read).await.unwrap();
        let gave = tx.conn().fetch_all(sql.as_str()).await;
        is_denied_or_empty(gave, &sql);
        tx.rollback().await.unwrap();
        tried += 1;
    }
    query.close().await;
    tried
}

/// Each process's role, with no tenant named and with its own, on every shared table with tenants' rows.
async fn no_foreign_rows(admin: &PgPool, own: TenantId, other: TenantId) -> u32 {
    let shared: Vec<String> =
        sqlx::query_scalar("select oid::regclass::text from pg_class where relforcerowsecurity order by 1").fetch_all(admin).await.unwrap();
    let mut tried = 0;
    for role in LOGINS {
        let mut connection = PgConnection::connect_with(&admin.connect_options()).await.unwrap();
        connection.execute(format!("set role {role}").as_str()).await.unwrap();
        for settings in [
            "reset tenure.tenant; reset tenure.tenants".into(),
            format!("set tenure.tenant = '{0}'; set tenure.tenants = '{0}'", own.uuid()),
        ] {
            connection.execute(settings.as_str()).await.unwrap();
            for table in &shared {
                let foreign = format!("select count(*) from {table} where tenant_id <> '{}'", own.uuid());
                match sqlx::query_scalar::<_, i64>(&foreign).fetch_one(&mut connection).await {
                    Ok(seen) => assert_eq!(seen, 0, "{role} sees foreign rows of {table}"),
                    Err(error) => assert_denied(&error, &format!("{table}: {error}")),
                }
                let foreign = format!("delete from {table} where tenant_id = '{}'", other.uuid());
                match connection.execute(foreign.as_str()).await {
                    Ok(done) => assert_eq!(done.rows_affected(), 0, "{role} deletes foreign rows of {table}"),
                    Err(error) => assert_denied(&error, &format!("{table}: {error}")),
                }
                tried += 2;
            }
        }
        connection.close().await.unwrap();
    }
    tried
}

/// Where a right is open, the next layer gives nothing.
#[track_caller]
fn is_denied_or_empty(gave: Result<Vec<PgRow>, sqlx::Error>, what: &str) {
    match gave {
        Ok(rows) => assert!(rows.is_empty() && what.contains("select *"), "{what} gave {} rows", rows.len()),
        // A transaction that only reads writes nothing, whatever the rights.
        Err(error) if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("25006") => {}
        Err(error) => assert_denied(&error, &format!("{what}: {error}")),
    }
}

/// Whoever reads another tenant's event by mistake holds ciphertext: the key is the person's, and the place is bound in.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrongly_read_event_cannot_be_opened() {
    let (field, _stopped) = battlefield(&[]).await;
    let [own, other] = field.tenants();
    let admin = field_pool(&field).await;
    let data: Vec<String> = sqlx::query_scalar("select data::text from event_store.event where tenant_id = $1")
        .bind(other.uuid())
        .fetch_all(&admin)
        .await
        .unwrap();
    let personal: Vec<&String> = data.iter().filter(|data| data.contains("EmployeeHired") || data.contains("employee_number")).collect();
    assert!(!personal.is_empty(), "{data:?}");
    for text in personal {
        assert!(!text.contains(field.canary()), "what identifies a person is sealed in the store: {text}");
    }
    admin.close().await;
    // The same bytes under another tenant, another stream or another key stay closed.
    let (person, key) = (EmployeeId::from_uuid(uuid::Uuid::now_v7()), events::PersonKey::generate());
    let scopes = [TenantScope::checked(own), TenantScope::checked(other)];
    let hired: Event = EmployeeEvent::from(PersonalDetailsChanged {
        employee_id: person,
        effective: Effective { on: date(2020, 1, 1), seq: 0 },
        changes: Personal::Clear(PersonalDetailsChange { given_name: Some("Ada".into()), ..PersonalDetailsChange::default() }),
    })
    .into();
    let mut sealed = hired.clone();
    sealed.seal(StreamName::employee(scopes[1], person), |_| Some(&key)).unwrap();
    for (scope, of, with) in [
        (scopes[0], person, KeyState::Held(key.clone())),
        (scopes[1], EmployeeId::from_uuid(uuid::Uuid::now_v7()), KeyState::Held(key.clone())),
        (scopes[1], person, KeyState::Held(events::PersonKey::generate())),
    ] {
        let mut wrongly = sealed.clone();
        assert!(wrongly.open(StreamName::employee(scope, of), |_| &with).is_err());
    }
    let key = KeyState::Held(key);
    sealed.open(StreamName::employee(scopes[1], person), |_| &key).unwrap();
    assert_eq!(sealed, hired);
}

/// Each process's user at the broker does what its work needs and nothing else, whatever the process would like.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_holds_by_itself() {
    let (system, _stopped) = own_static_system_with(&[]).await;
    eprintln!("{} calls of the broker denied", the_broker_holds(system).await);
}

/// Tries at the broker what its rights deny; how many calls that were.
async fn the_broker_holds(system: &System) -> u32 {
    let mut tried = 0;
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(system.home.join("run/state.json")).unwrap()).unwrap();
    let url = state["addresses"]["nats_url"].as_str().unwrap().to_owned();
    let client = async |user: &str| {
        let password = std::fs::read_to_string(system.home.join("secrets").join(format!("nats-{user}"))).unwrap();
        client(&url, Some((user.into(), password))).await
    };
    assert!(async_nats::connect(&url).await.is_err(), "nobody without a password");
    let (relay, projector, worker) = (client("relay").await, client("projector").await, client("worker").await);
    // Nobody hears what is published to subjects of tenants but through the stream.
    for (name, client) in [("relay", &relay), ("projector", &projector), ("worker", &worker)] {
        for subject in ["hr.>", ">", "$JS.API.>", "_INBOX.>"] {
            let mut heard = client.subscribe(subject).await.unwrap();
            relay.publish("hr.0.aaaaaaaaaaaaaaaaaaaaaaaaaa.employee.EmployeeHired", "x".into()).await.unwrap();
            relay.flush().await.unwrap();
            let message = tokio::time::timeout(Duration::from_millis(300), futures::StreamExt::next(&mut heard)).await;
            assert!(!matches!(message, Ok(Some(_))), "{name} hears {subject}");
            tried += 1;
        }
    }
    // Projector and worker can't publish events, and nobody can touch another stream or delete this one.
    let messages = async || {
        let jetstream = async_nats::jetstream::new(relay.clone());
        jetstream.get_stream(store::feed::STREAM).await.unwrap().info().await.unwrap().state.messages
    };
    let before = messages().await;
    for subject in ["hr.0.aaaaaaaaaaaaaaaaaaaaaaaaaa.employee.EmployeeHired", "hr.x"] {
        for client in [&projector, &worker] {
            client.publish(subject, "x".into()).await.unwrap();
            client.flush().await.unwrap();
            tried += 1;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(messages().await, before, "neither publishes events");
    for (name, client) in [("relay", &relay), ("projector", &projector), ("worker", &worker)] {
        for call in [
            format!("$JS.API.STREAM.DELETE.{}", store::feed::STREAM),
            format!("$JS.API.STREAM.PURGE.{}", store::feed::STREAM),
            format!("$JS.API.STREAM.MSG.GET.{}", store::feed::STREAM),
            format!("$JS.API.DIRECT.GET.{}", store::feed::STREAM),
            "$JS.API.STREAM.CREATE.other".into(),
            "$JS.API.STREAM.NAMES".into(),
            format!("$JS.API.STREAM.UPDATE.{}", store::feed::STREAM),
            format!("$JS.API.CONSUMER.DELETE.{}.projector-0", store::feed::STREAM),
            format!("$JS.API.CONSUMER.DELETE.{}.worker-0", store::feed::STREAM),
            // One that pushes would have the broker itself send events wherever it says.
            format!("$JS.API.CONSUMER.CREATE.{}.mine", store::feed::STREAM),
            format!("$JS.API.CONSUMER.DURABLE.CREATE.{}.projector-0", store::feed::STREAM),
        ] {
            let answer = tokio::time::timeout(Duration::from_millis(500), client.request(call.clone(), "{}".into())).await;
            assert!(!matches!(answer, Ok(Ok(_))), "{name} may call {call}: {answer:?}");
            tried += 1;
        }
    }
    let push = serde_json::json!({"stream_name": store::feed::STREAM, "config": {
        "name": "projector-0", "durable_name": "projector-0", "filter_subject": "hr.0.>", "deliver_subject": "_INBOX_projector.x",
        "ack_policy": "explicit"}});
    for call in ["projector-0.hr.0.>", "projector-0", "x.hr.0.>"] {
        let call = format!("$JS.API.CONSUMER.CREATE.{}.{call}", store::feed::STREAM);
        let answer = tokio::time::timeout(Duration::from_millis(500), projector.request(call.clone(), push.to_string().into())).await;
        assert!(!matches!(answer, Ok(Ok(_))), "the projector may call {call}: {answer:?}");
        tried += 1;
    }
    assert_eq!(messages().await, before);
    tried
}

/// `insufficient_privilege`.
#[track_caller]
fn assert_denied(error: &sqlx::Error, what: &str) {
    assert_eq!(error.as_database_error().and_then(DatabaseError::code).as_deref(), Some("42501"), "{what}");
}

async fn field_pool(field: &Battlefield) -> PgPool {
    field.system().pool().await
}
