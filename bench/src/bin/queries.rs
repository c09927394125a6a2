//! How fast the query API answers, next to the same SQL through bare axum and sqlx: no tenancy, no token, no roles, no
//! transaction; and next to that server with a transaction under the tenant's role around each statement, which tells what
//! isolation in the database costs.
//!
//! Makes a database of its own on the server of `--database-url` (a superuser's) with one tenant, and drops it afterwards.
//! First every request goes through a recorder before PostgreSQL; the bare server answers each with the statement and the
//! parameters that it caused. Then all are loaded in turns.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bench::{
    Rounds, careers, cores, histogram, in_database,
    load::{client, load},
    ms,
    record::{self, Recorder, Statement},
    system::{System, rebuild},
};
use clap::Parser;
use events::EmployeeId;
use platform::{Process, READ_MODEL_VERSION, read_schema};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;

/// Different requests of a kind; of those that read everyone in any case, and are recorded slowly, fewer.
const SAMPLES: u32 = 200;
const FEW_SAMPLES: u32 = 20;
/// As many as the query API has if nothing else is said.
const CONNECTIONS: u32 = 16;

#[derive(Parser)]
struct Options {
    /// A superuser's URL of a PostgreSQL server.
    #[arg(long)]
    database_url: String,
    /// People in the tenant.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 300_000])]
    employees: Vec<u32>,
    /// Clients in a closed loop.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Measurements of each, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// A line of JSON per row instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.json {
        println!(
            "answers/s of {} clients, medians of {} rounds of {} s, {} cores",
            options.clients,
            options.rounds,
            options.seconds,
            cores()
        );
        let (name, peer) = ("tenure", "bare");
        println!(
            "{:>9} {:<24} {name:>9} {:>8} {:>8}   {peer:>9} {:>8} {:>8}   {:<18} {:<18} p99 ratio",
            "employees", "query", "p50 ms", "p99 ms", "p50 ms", "p99 ms", "ratio", "to bare + role"
        );
    }
    for &employees in &options.employees {
        in_database(&options.database_url, "queries", |database| measure(&options, database, employees)).await?;
    }
    Ok(())
}

async fn measure(options: &Options, database: PgConnectOptions, employees: u32) -> anyhow::Result<()> {
    let system = System::start(database.clone()).await?;
    let scope = system.tenant("bench").await?;
    careers::fill_tenants(&system, &[scope], employees).await?;
    rebuild(&system.applier().await?, scope).await?;
    let kinds = kinds(employees, |role, person| system.token_as(scope, "bench", role, person))?;
    let recorder = Recorder::default();
    let recorded = system.serve_over(&recorder.start(system.database()).await?, Process::QueryApi).await?;
    let http = client(options.clients)?;
    let (mut statements, mut answered) = (BTreeMap::new(), Vec::new());
    for kind in kinds {
        let recording = async {
            for request in &kind.requests {
                statements.insert(request.path.clone(), recorded_at(&http, &recorded, request, &recorder).await?);
            }
            anyhow::Ok(())
        };
        match recording.await {
            Ok(()) => answered.push(kind),
            // A query that gives no answer is a figure too, and the others are measured.
            Err(refused) if options.json => {
                println!("{}", json!({"bench": "queries", "employees": employees, "query": kind.name, "refused": refused.to_string()}));
            }
            Err(refused) => println!("{employees:>9} {:<30} refused: {refused}", kind.name),
        }
    }
    let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
    let statements = Arc::new(statements);
    let bare = async |begin| record::serve(database.clone(), &schema, CONNECTIONS, statements.clone(), begin).await;
    let begin = format!("begin read only; set local role \"t_{}\"; set local search_path = \"{schema}\"", scope.tenant());
    let bases = [system.serve(Process::QueryApi).await?, bare(None).await?, bare(Some(begin)).await?];
    for kind in answered {
        compare(options, &http, &bases, employees, kind).await?;
    }
    Ok(())
}

/// What is asked for, and by whom.
struct Kind {
    name: &'static str,
    requests: Vec<Request>,
}

struct Request {
    path: String,
    token: Arc<str>,
}

/// What people ask for: HR, who see everything, then a person and a manager, from whom something is hidden. These ask on
/// paths of their own, by another day or filter, so that a path tells the statement.
fn kinds(employees: u32, token: impl Fn(&str, Option<EmployeeId>) -> anyhow::Result<String>) -> anyhow::Result<Vec<Kind>> {
    // Steps that share no divisor with the number of people reach all of them.
    let sample = |n: u32| (n * 7_919 + 13) % employees;
    let day_of = |n: u32, day: u32| format!("{}-{:02}-{day}", 1995 + n % 5, 1 + n % 12);
    let day = |n: u32| day_of(n, 15);
    let of = |samples: u32, name, token: &dyn Fn(u32) -> anyhow::Result<Arc<str>>, path: &dyn Fn(u32) -> String| {
        let requests = (0..samples).map(|n| Ok(Request { path: path(n), token: token(n)? })).collect::<anyhow::Result<_>>()?;
        anyhow::Ok(Kind { name, requests })
    };
    let hr: Arc<str> = token("hr", None)?.into();
    let by_hr = |_| Ok(hr.clone());
    // Those at the top of the chart who manage others are the first after those who left.
    let manager = |n: u32| careers::employee((employees / 5 + n) % employees);
    // Three levels below the top.
    let by_manager: Arc<str> = token("manager", Some(manager(100)))?.into();
    let by_manager = |_| Ok(by_manager.clone());
    // Who has left gets in no more.
    let there = |n: u32| careers::employee(employees / 5 + sample(n) % (employees - employees / 5));
    let oneself = |n: u32| anyhow::Ok(token("employee", Some(there(n)))?.into());
    let person = |n: u32, day| format!("/v1/employees/{}?as_of={}", careers::employee(sample(n)).uuid(), day_of(n, day));
    let own = |n: u32| format!("/v1/employees/{}?as_of={}", there(n).uuid(), day_of(n, 16));
    Ok(vec![
        of(SAMPLES, "person", &by_hr, &|n| person(n, 15))?,
        of(SAMPLES, "list, first page", &by_hr, &|n| format!("/v1/employees?limit=50&as_of={}", day(n)))?,
        of(SAMPLES, "list of a department", &by_hr, &|n| {
            format!("/v1/employees?limit=50&as_of={}&department={}", day(n), careers::department(n % 9).uuid())
        })?,
        of(SAMPLES, "search, two names", &by_hr, &|n| {
            let (given, family) = careers::names(sample(n));
            format!("/v1/employees?q={}+{}&as_of={}", given.to_lowercase(), family.to_lowercase(), day(n))
        })?,
        of(SAMPLES, "search, part of a name", &by_hr, &|n| {
            format!("/v1/employees?q={}&as_of={}", careers::names(sample(n)).1.to_lowercase(), day(n))
        })?,
        of(SAMPLES, "org chart of a person", &by_hr, &|n| format!("/v1/org-chart?root={}&as_of={}", manager(n).uuid(), day(n)))?,
        of(FEW_SAMPLES, "org chart from the top", &by_hr, &|n| format!("/v1/org-chart?as_of={}", day(n)))?,
        of(FEW_SAMPLES, "headcount", &by_hr, &|n| format!("/v1/reports/headcount?group_by=department&as_of={}", day(n)))?,
        of(SAMPLES, "person, by themselves", &oneself, &own)?,
        of(SAMPLES, "person, by a manager", &by_manager, &|n| person(n, 17))?,
        of(SAMPLES, "list, by a manager", &by_manager, &|n| {
            format!("/v1/employees?limit=50&as_of={}&manager={}", day(n), manager(100).uuid())
        })?,
    ])
}

/// The statement that a request causes.
async fn recorded_at(http: &reqwest::Client, base: &str, request: &Request, recorder: &Recorder) -> anyhow::Result<Statement> {
    recorder.take();
    let path = &request.path;
    let response = http.get(format!("{base}{path}")).bearer_auth(&request.token).send().await?;
    ensure!(response.status().is_success(), "{path}: {}", response.text().await?);
    response.bytes().await?;
    // Every read names the position that it stands at.
    let of_the_query = |statement: &Statement| statement.sql.contains("from checkpoint");
    recorder.take().into_iter().rfind(of_the_query).with_context(|| format!("{path} ran no statement that reads the checkpoint"))
}

/// Loads all with requests of one kind, in turns.
async fn compare(options: &Options, http: &reqwest::Client, bases: &[String; 3], employees: u32, kind: Kind) -> anyhow::Result<()> {
    let (kind, requests): (_, Arc<[Request]>) = (kind.name, kind.requests.into());
    let mut rates: [Rounds; 3] = Default::default();
    let mut times = [histogram(), histogram(), histogram()];
    let (mut ratio, mut to_role, mut tails) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..options.rounds as usize {
        let (mut rate, mut tail) = ([0.0; 3], [0.0; 3]);
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let (http, base, requests) = (http.clone(), bases[which].clone(), requests.clone());
            let request = move |n: u64| {
                let request = &requests[usize::try_from(n).unwrap_or(0) % requests.len()];
                http.get(format!("{base}{}", request.path)).bearer_auth(&request.token)
            };
            let load = load(options.clients, Duration::from_secs(options.seconds), &Arc::new(AtomicU64::new(0)), request).await?;
            (rate[which], tail[which]) = (load.rate, ms(&load.times, 0.99));
            rates[which].push(load.rate);
            times[which].add(load.times)?;
        }
        ratio.push(rate[0] / rate[1]);
        to_role.push(rate[0] / rate[2]);
        tails.push(tail[0] / tail[1]);
    }
    let [own, bare, _] = &times;
    if options.json {
        let line = json!({"bench": "queries", "employees": employees, "query": kind, "clients": options.clients, "cores": cores(),
            "tenure": rates[0].json(), "p50_ms": ms(own, 0.5), "p99_ms": ms(own, 0.99),
            "bare": rates[1].json(), "bare_p50_ms": ms(bare, 0.5), "bare_p99_ms": ms(bare, 0.99), "ratio": ratio.json(), "ratio_to_bare_in_role": to_role.json(), "ratio_p99": tails.json()});
        println!("{line}");
    } else {
        let (a, b) = (rates[0].median(), rates[1].median());
        let [p50, p99, bare50, bare99] = [ms(own, 0.5), ms(own, 0.99), ms(bare, 0.5), ms(bare, 0.99)];
        println!(
            "{employees:>9} {kind:<24} {a:>9.0} {p50:>8.2} {p99:>8.2}   {b:>9.0} {bare50:>8.2} {bare99:>8.2}   {ratio:<18} {to_role:<18} {tails}"
        );
    }
    Ok(())
}
