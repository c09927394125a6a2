//! How many commands a second one command API takes: through the batch endpoint, and one by one from many clients, next to
//! what many would build instead ([`bench::crud`]).
//!
//! Makes a database of its own on the server of `--database-url` (a superuser's), with one tenant, serves both in this
//! process, and drops the database at the end. Every command has a key.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::ensure;
use bench::{
    Rounds, cores, crud, histogram, in_database,
    load::{client, load},
    ms,
    system::System,
};
use clap::Parser;
use platform::Process;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

#[derive(Parser)]
struct Arguments {
    /// A superuser's URL.
    #[arg(long, env = "TENURE_TEST_DATABASE_URL")]
    database_url: String,
    /// People to hire.
    #[arg(long, default_value_t = 10_000)]
    people: u32,
    /// Pay changes of each, in a batch.
    #[arg(long, default_value_t = 5)]
    changes: u32,
    /// Clients that send one by one.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 500])]
    clients: Vec<u32>,
    /// Seconds per measurement of these.
    #[arg(long, default_value_t = 5)]
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
    let arguments = Arguments::parse();
    in_database(&arguments.database_url, "commands", |database| measure(&arguments, database)).await
}

async fn measure(arguments: &Arguments, database: PgConnectOptions) -> anyhow::Result<()> {
    let system = System::start(database.clone()).await?;
    let tenant = system.tenant("bench").await?;
    let (base, token) = (system.serve(Process::CommandApi).await?, system.token(tenant, "bench")?);
    let people: Vec<Uuid> = (0..arguments.people).map(|n| id("person", n)).collect();
    batches(arguments, &base, &token, &people).await?;

    let peer = crud::serve(database, &people).await?;
    let servers = [(base, token), peer];
    if !arguments.json {
        println!("pay changes one by one over HTTP, medians of {} rounds of {} s, {} cores", arguments.rounds, arguments.seconds, cores());
        let (name, peer) = ("tenure", "axum + sqlx CRUD");
        println!("{:>7}   {name:>9} {:>8} {:>8}   {peer:>16} {:>8} {:>8}   ratio", "clients", "p50 ms", "p99 ms", "p50 ms", "p99 ms");
    }
    // Each person's next change is on a later day, in both.
    let next = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let people: Arc<[Uuid]> = people.into();
    for &clients in &arguments.clients {
        let http = client(clients)?;
        let (mut rates, mut times, mut ratio) = ([Rounds::default(), Rounds::default()], [histogram(), histogram()], Rounds::default());
        for round in 0..arguments.rounds as usize {
            let mut pair = [0.0; 2];
            for turn in 0..2 {
                let which = (round + turn) % 2;
                let ((base, token), http, people) = (servers[which].clone(), http.clone(), people.clone());
                let request = move |n: u64| {
                    let (person, nth) = (people[usize::try_from(n).unwrap_or(0) % people.len()], n / people.len() as u64);
                    let body = json!({"effective_on": day(400 + nth), "pay": pay(70_000 + nth), "reason": "raise"});
                    let request = http.post(format!("{base}/v1/employees/{person}/compensation-changes")).bearer_auth(&token);
                    request.header("idempotency-key", format!("single-{n}")).json(&body)
                };
                let load = load(clients, Duration::from_secs(arguments.seconds), &next[which], request).await?;
                rates[which].push(load.rate);
                times[which].add(load.times)?;
                pair[which] = load.rate;
            }
            ratio.push(pair[0] / pair[1]);
        }
        let [own, peer] = &times;
        if arguments.json {
            let line = json!({"bench": "commands", "clients": clients, "cores": cores(),
                "tenure": rates[0].json(), "p50_ms": ms(own, 0.5), "p99_ms": ms(own, 0.99),
                "crud": rates[1].json(), "crud_p50_ms": ms(peer, 0.5), "crud_p99_ms": ms(peer, 0.99), "ratio": ratio.json()});
            println!("{line}");
        } else {
            let (a, b) = (rates[0].median(), rates[1].median());
            let [p50, p99, peer50, peer99] = [ms(own, 0.5), ms(own, 0.99), ms(peer, 0.5), ms(peer, 0.99)];
            println!("{clients:>7}   {a:>9.0} {p50:>8.1} {p99:>8.1}   {b:>16.0} {peer50:>8.1} {peer99:>8.1}   {ratio}");
        }
    }
    Ok(())
}

/// The set-up, by batches whose rates are figures too.
async fn batches(arguments: &Arguments, base: &str, token: &str, people: &[Uuid]) -> anyhow::Result<()> {
    let line = |command: &str, key: String, data: Value| json!({"command": command, "key": key, "data": data}).to_string() + "\n";
    let mut setup =
        line("CreateJob", "job".into(), json!({"job_id": id("job", 0), "effective_on": "2000-01-01", "code": "J", "title": "J"}));
    for n in 0..9 {
        let data = json!({"department_id": id("department", n), "effective_on": "2000-01-01", "code": format!("d{n}"), "name": "D"});
        setup += &line("CreateDepartment", format!("d{n}"), data);
    }
    let batch = async |what: &str, lines: u32, body: String| {
        let rate = send(base, token, what, lines, body).await?;
        if arguments.json {
            println!("{}", json!({"bench": "batch", "what": what, "lines": lines, "commands_per_second": bench::round(rate)}));
        } else {
            println!("{what}: {lines} commands in one batch, {rate:.0} commands/s");
        }
        anyhow::Ok(())
    };
    batch("organization", 10, setup).await?;
    let hires: String = (0..)
        .zip(people)
        .map(|(n, person)| {
            let data = json!({"employee_id": person, "hire_date": "2000-01-01", "employee_number": n.to_string(),
                "person": {"given_name": "Georgi", "family_name": "Facello", "birth_date": "1953-09-02", "gender": "M"},
                "assignment": {"department_id": id("department", n % 9), "job_id": id("job", 0)}, "pay": pay(60_000)});
            line("HireEmployee", format!("hire-{n}"), data)
        })
        .collect();
    let changes: String = (0..u64::from(arguments.changes))
        .flat_map(|c| people.iter().map(move |person| (c, person)))
        .map(|(c, person)| {
            let data = json!({"employee_id": person, "effective_on": day(c), "pay": pay(60_001 + c), "reason": "annual_review"});
            line("ChangeCompensation", format!("pay-{c}-{person}"), data)
        })
        .collect();
    let many = arguments.people * arguments.changes;
    batch("hires", arguments.people, hires.clone()).await?;
    batch("pay changes", many, changes.clone()).await?;
    batch("hires again", arguments.people, hires).await?;
    batch("pay changes again", many, changes).await
}

/// One batch; every line must succeed. Commands per second.
async fn send(base: &str, token: &str, what: &str, lines: u32, body: String) -> anyhow::Result<f64> {
    let started = Instant::now();
    let chunks: Vec<_> = body.as_bytes().chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let request = reqwest::Client::new().post(format!("{base}/v1/batch")).bearer_auth(token).header("content-type", "application/x-ndjson");
    let results = request.body(body).send().await?.error_for_status()?.text().await?;
    let seconds = started.elapsed().as_secs_f64();
    let good = results.lines().filter(|line| line.contains("\"status\":200")).count();
    let bad = results.lines().find(|line| !line.contains("\"status\":200")).unwrap_or_default();
    ensure!(u32::try_from(good)? == lines, "{good} of {lines} {what} succeeded; {bad}");
    Ok(f64::from(lines) / seconds)
}

fn id(kind: &str, n: u32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind}{n}").as_bytes())
}

fn pay(amount: u64) -> Value {
    json!({"rate": {"amount": amount.to_string(), "currency": "USD"}, "per": "year"})
}

fn day(n: u64) -> String {
    format!("{}-{:02}-{:02}", 2001 + n / 336, 1 + n / 28 % 12, 1 + n % 28)
}
