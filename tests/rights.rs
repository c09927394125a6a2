//! Who may what, compared with what the code does: `docs/rights.md` names each right of each role in PostgreSQL and each subject of
//! each user of NATS, with the code that needs it. A right that the servers give and the table has not fails, and so does the
//! reverse; and the code that a row names must do what the right is for.

use std::{collections::BTreeMap, fs, path::Path};

use events::Position;
use sqlx::{ConnectOptions as _, Executor as _, error::DatabaseError};
use store::{AppendError, PgStore, Store};
use tenure::nats::{Users, configuration};

use crate::{
    platform::Database,
    store_conformance::{employee, one},
};

/// Role or user, and object or subject.
type Held = BTreeMap<(String, String), Row>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    rights: Vec<String>,
    /// The files that need them.
    code: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The table below a heading of the document: who, what, rights, code.
fn documented(heading: &str) -> Held {
    let text = fs::read_to_string(root().join("docs/rights.md")).unwrap();
    let (_, below) = text.split_once(&format!("## {heading}\n")).unwrap();
    let table = below.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
        let list = |cell: &str| cell.split(", ").map(ToOwned::to_owned).collect();
        ((cells[0].clone(), cells[1].clone()), Row { rights: list(&cells[2]), code: list(&cells[3]) })
    };
    table.map(row).collect()
}

#[track_caller]
fn same(documented: &Held, given: &BTreeMap<(String, String), Vec<String>>) {
    let line = |(who, what): &(String, String), rights: &[String]| format!("| `{who}` | `{what}` | {} |", rights.join(", "));
    let mut problems = Vec::new();
    for (key, rights) in given {
        if documented.get(key).is_none_or(|row| row.rights != *rights) {
            problems.push(format!("given, and not in the table: {}", line(key, rights)));
        }
    }
    for (key, row) in documented {
        if given.get(key).is_none_or(|rights| row.rights != *rights) {
            problems.push(format!("in the table, and not given: {}", line(key, &row.rights)));
        }
    }
    assert!(
        problems.is_empty(),
        "no role may do more than its code does; mend docs/rights.md, or the grants in a new migration:\n  {}",
        problems.join("\n  ")
    );
}

/// The text of the files that a row names, each run of blanks as one.
fn code(row: &Row) -> String {
    let read = |file: &String| fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("docs/rights.md names {file}: {error}"));
    let text: String = row.code.iter().map(read).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Code that several processes share, and what whoever uses it says.
const SHARED: [(&str, &str); 4] = [
    ("platform/src/keys.rs", "Keys::open"),
    ("platform/src/job.rs", "job::"),
    ("platform/src/provision.rs", "database::connect"),
    ("platform/src/release.rs", "Release::join"),
];

/// The sources of the process that has a role.
fn sources(role: &str) -> String {
    let folders: &[&str] = match role {
        "tenure_command" => &["command-api/src", "execution/src"],
        "tenure_identity" => &["command-api/src", "identity/src"],
        "tenure_query" => &["query-api/src"],
        "tenure_projector" => &["projector/src"],
        "tenure_relay" => &["relay/src"],
        "tenure_worker" => &["worker/src", "execution/src"],
        other => panic!("whose role is {other}?"),
    };
    let (mut text, mut open) = (String::new(), folders.iter().map(|folder| root().join(folder)).collect::<Vec<_>>());
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// Whether code does to a table, or function, what a right is for.
fn does(code: &str, right: &str, object: &str) -> bool {
    let object = object.split('(').next().unwrap();
    let (schema, name) = object.split_once('.').unwrap();
    // Some statements name their table, or its schema, by a variable.
    let by_name = |before: &str| {
        code.contains(&format!("{before}{object}"))
            || (code.contains(&format!("{before}{schema}.{{")) && code.contains(&format!("\"{name}\"")))
            || (code.contains(&format!("{before}{{schema}}.{name}")) && code.contains(&format!("\"{schema}\"")))
    };
    let locks = [" for update", " for share", " for no key update", " for key share"].iter().any(|lock| code.contains(lock));
    match right {
        "select" | "execute" => by_name(""),
        "insert" => by_name("insert into "),
        "delete" => by_name("delete from "),
        "update" => by_name("update ") || (by_name("insert into ") && code.contains("do update")) || (by_name("") && locks),
        _ => false,
    }
}

#[tokio::test]
async fn no_role_in_postgres_may_more_than_its_code_does() {
    let database = Database::bootstrapped().await;
    let rows: Vec<(String, String, String)> = sqlx::query_as(GRANTS).fetch_all(&database.owner).await.unwrap();
    let mut given: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (role, object, right) in rows {
        given.entry((role, object)).or_default().push(right);
    }
    let documented = documented("PostgreSQL");
    same(&documented, &given);
    let idle: Vec<String> = documented
        .iter()
        .flat_map(|((role, object), row)| {
            let code = code(row);
            let idle = row.rights.iter().filter(move |right| !does(&code, right, object));
            idle.map(move |right| format!("{role} may {right} {object}, and {} does not", row.code.join(", "))).collect::<Vec<_>>()
        })
        .collect();
    let strangers = documented.iter().flat_map(|((role, object), row)| {
        let sources = sources(role);
        let unused = SHARED.iter().filter(move |(file, entry)| row.code.iter().any(|cited| cited == file) && !sources.contains(entry));
        unused.map(move |(file, _)| format!("{role} may use {object}, and its process does not use {file}"))
    });
    let idle: Vec<String> = idle.into_iter().chain(strangers).collect();
    assert!(idle.is_empty(), "take the right away in a new migration, or name the code that needs it:\n  {}", idle.join("\n  "));
}

/// Every right on tables, columns and functions that somebody but their owner has, PUBLIC too.
const GRANTS: &str = "
    with given as (
        select a.grantee, format('%s.%s', n.nspname, c.relname) as object, a.privilege_type
        from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
        where n.nspname in ('platform', 'event_store', 'worker') and a.grantee <> c.relowner
        union all
        select a.grantee, format('%s.%s(%s)', n.nspname, c.relname, string_agg(t.attname, ' ' order by t.attname)), a.privilege_type
        from pg_attribute t join pg_class c on c.oid = t.attrelid join pg_namespace n on n.oid = c.relnamespace, aclexplode(t.attacl) a
        where n.nspname in ('platform', 'event_store', 'worker') and a.grantee <> c.relowner
        group by a.grantee, n.nspname, c.relname, a.privilege_type
        union all
        select a.grantee, format('%s.%s()', n.nspname, p.proname), a.privilege_type
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where n.nspname in ('platform', 'event_store', 'worker') and a.grantee <> p.proowner)
    select distinct coalesce(r.rolname::text, 'PUBLIC'), object, lower(privilege_type)
    from given left join pg_roles r on r.oid = given.grantee order by 1, 2, 3";

#[test]
fn no_user_of_the_broker_may_more_than_its_code_does() {
    let users = Users { relay: "r".into(), projector: "p".into(), worker: "w".into() };
    let text = configuration("127.0.0.1", 4222, Path::new("/x"), "2m", Some(&users));
    let mut given: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut user = String::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("user: ") {
            rest.split(',').next().unwrap().clone_into(&mut user);
        }
        for right in ["publish", "subscribe"] {
            let Some((_, list)) = line.split_once(&format!("{right}: {{ allow: [")) else { continue };
            for subject in list.split(']').next().unwrap().split(", ") {
                // Partitions differ in their number alone.
                let digits = |c: char| c.is_ascii_digit();
                let subject = subject.trim_matches('"').split('.').map(|token| match token.trim_end_matches(digits) {
                    "projector-" => "projector-N",
                    "worker-" => "worker-N",
                    "" => "N",
                    _ => token,
                });
                let subject = subject.collect::<Vec<_>>().join(".");
                let rights = given.entry((user.clone(), subject)).or_default();
                if !rights.contains(&right.to_owned()) {
                    rights.push(right.to_owned());
                }
            }
        }
    }
    let documented = documented("NATS");
    same(&documented, &given);
    for ((user, subject), row) in &documented {
        // The call of the client library that speaks to each.
        let call = match subject {
            s if s.contains("STREAM.") => "get_or_create_stream",
            s if s.contains("CONSUMER.CREATE") => "get_or_create_consumer",
            s if s.contains("CONSUMER.INFO") => "_consumer",
            s if s.contains("MSG.NEXT") => ".messages()",
            s if s.contains("$JS.ACK") => "ack_with",
            s if s.starts_with("_INBOX") => "custom_inbox_prefix",
            _ => "publish_with_headers",
        };
        assert!(code(row).contains(call), "{user} may use {subject}, and {} does not", row.code.join(", "));
    }
}

/// Each process is started with the secrets that it needs, and no other's.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn no_process_holds_a_secret_that_it_does_not_use() {
    let system = crate::servers::system().await;
    for (process, needed) in [
        ("tenure-command-api", &["DATABASE_URL_FILE", "IDENTITY_DATABASE_URL_FILE", "MASTER_KEY_FILE"][..]),
        ("tenure-console", &[]),
        ("tenure-projector", &["DATABASE_URL_FILE", "MASTER_KEY_FILE", "NATS_PASSWORD_FILE"]),
        ("tenure-query-api", &["DATABASE_URL_FILE"]),
        ("tenure-relay", &["DATABASE_URL_FILE", "NATS_PASSWORD_FILE"]),
        ("tenure-worker", &["DATABASE_URL_FILE", "MASTER_KEY_FILE", "NATS_PASSWORD_FILE"]),
    ] {
        let environ = fs::read(format!("/proc/{}/environ", system.pid(process).unwrap())).unwrap();
        let text = String::from_utf8(environ).unwrap();
        let given = text.split('\0').filter_map(|pair| pair.split_once('=')?.0.strip_prefix("TENURE_"));
        let mut given: Vec<&str> = given.filter(|name| name.ends_with("_FILE")).collect();
        given.sort_unstable();
        assert_eq!(given, needed, "{process}");
    }
    // Nor does compose.yaml hand out more.
    let compose = fs::read_to_string(root().join("compose.yaml")).unwrap();
    assert_eq!(compose.matches("TENURE_MASTER_KEY_FILE").count(), 3);
}

/// The projector reads the log and appends nothing to it.
#[tokio::test]
async fn the_projector_appends_nothing() {
    let database = Database::bootstrapped().await;
    let scope = database.tenant().await;
    let store = |role| {
        let url = database.pool(role, 1).connect_options().to_url_lossy();
        Store::Postgres(PgStore::open(url.as_str(), 2).unwrap())
    };
    store("tenure_command").append(one(scope, employee(scope))).await.unwrap();
    let projector = store("tenure_projector");
    let refused = projector.append(one(scope, employee(scope))).await;
    assert!(matches!(refused, Err(AppendError::Store(_))), "{refused:?}");
    assert_eq!(projector.read_log(scope, Position::ZERO, 10).await.unwrap().len(), 1);
    let pool = database.pool("tenure_projector", 1);
    for statement in [
        "insert into event_store.event select * from event_store.event",
        "update event_store.tenant_head set position = 0",
        "delete from event_store.claim",
        "insert into event_store.relay_cursor values (gen_random_uuid(), 1)",
    ] {
        let error = pool.execute(statement).await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(DatabaseError::code).as_deref(), Some("42501"), "{statement}");
    }
}
