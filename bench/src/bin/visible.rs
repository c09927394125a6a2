//! How long after its acknowledgement is a command visible? Against a running system (`tenure up`).
//!
//! Sends pay changes at a fixed rate (open loop: a late answer delays no later command). After each acknowledgement it
//! asks for the person with `Tenure-Min-Position`, and takes the time until that answer. The same query without the
//! header, after every tenth command of the same run, is the limit: what a read costs anyway.
//!
//! `--find-highest` looks for the highest rate that is sustained: every command is answered, and who waits for what they
//! wrote does not wait longer at the end of a run than at its beginning.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bench::{cores, histogram, machine::Machine, ms, round};
use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// After one of so many commands there is a plain read: as many as commands would be a load of their own.
const PLAIN_EVERY: u64 = 10;

#[derive(Parser)]
#[command(
    about = "How long after its acknowledgement is a command visible, and at how many commands a second still?",
    after_help = "Needs a running system (`tenure up --detach --no-demo`). Above 2,000 requests/s start that with
TENURE_TENANT_REQUESTS_PER_SECOND=1000000 TENURE_TENANT_CONCURRENT_REQUESTS=1000000, or the tenant's own limit is what is found.

Examples, with --command-api, --query-api and --token:
  visible --rate 500                         p50, p99 and the longest at 500 commands/s
  visible --find-highest                     the highest rate that is sustained, from 250/s on, to 5 %
  visible --find-highest --p99 100           the same, as long as 99 of 100 are visible within 100 ms

A rate is sustained if all commands of a run are answered, none took longer than 5 s to be visible, and the median of the
last third, from when a command was due until it is visible, is at most 1.5 times that of the first third and 10 ms. The
rate is doubled until it is not sustained, then halved in between, with new people each time; at last it is run for three
times as long, and lowered by a tenth where it does not hold."
)]
struct Options {
    /// Base URL of the command API.
    #[arg(long)]
    command_api: String,
    /// Base URL of the query API.
    #[arg(long)]
    query_api: String,
    /// An access token with role hr.
    #[arg(long)]
    token: String,
    /// Commands per second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How long to measure, in seconds; each rate that is tried [default: 20; 10 with --find-highest].
    #[arg(long)]
    seconds: Option<u32>,
    /// How many people to change the pay of.
    #[arg(long, default_value_t = 500)]
    people: u32,
    /// Look for the highest rate that is sustained.
    #[arg(long, conflicts_with = "rate")]
    find_highest: bool,
    /// The first rate to try.
    #[arg(long, default_value_t = 250, requires = "find_highest")]
    from: u32,
    /// No rate above.
    #[arg(long, default_value_t = 64_000, requires = "find_highest")]
    to: u32,
    /// Milliseconds in which 99 of 100 commands have to be visible after they were acknowledged, or the rate is not sustained.
    #[arg(long, value_name = "MS", requires = "find_highest")]
    p99: Option<u32>,
    /// A line of JSON per rate instead of tables.
    #[arg(long)]
    json: bool,
}

/// One command.
struct Sample {
    /// When it was to be sent, after the beginning.
    due: Duration,
    /// From when it was to be sent until it was visible: a client that is late counts.
    lag: Duration,
    acknowledged: Duration,
    visible: Duration,
    /// What a read costs anyway; not asked for while the highest rate is looked for.
    plain: Option<Duration>,
}

/// Whether to read once more, without waiting for anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Read,
    Skip,
}

/// More than this behind, nothing is sustained.
const HOPELESS: Duration = Duration::from_secs(5);
/// How near the highest rate that is sustained and the lowest that is not have to be: a twentieth.
const NEAR: f64 = 1.05;
/// Rates that are tried at most, and then runs at the one found.
const TRIES: u32 = 14;
const LONG_RUNS: u32 = 4;
/// What a 429 means here.
const LIMITED: &str = "the tenant's own limit is reached; start the system with TENURE_TENANT_REQUESTS_PER_SECOND=1000000 TENURE_TENANT_CONCURRENT_REQUESTS=1000000";
/// People per batch.
const BATCH: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Arc::new(Options::parse());
    ensure!(options.rate > 0 && options.people > 0 && options.seconds != Some(0), "--rate, --people and --seconds are at least 1");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(4096).build()?;
    if options.find_highest { find_highest(&client, &options).await } else { at_rate(&client, &options).await }
}

/// At a rate that is given.
async fn at_rate(client: &reqwest::Client, options: &Arc<Options>) -> anyhow::Result<()> {
    let people = hire(client, options).await?;
    let seconds = options.seconds.unwrap_or(20);
    let run = async |seconds| {
        let outcome = measure(client, options, &people, (options.rate, seconds), Plain::Read).await?;
        outcome.map_err(|why| anyhow::anyhow!("{} commands/s are not sustained: {why}", options.rate))
    };
    run(2).await?; // Warm up.
    let samples = run(seconds).await?;
    if options.json {
        println!("{}", line("rate", options.rate, seconds, &samples, Ok(())));
        return Ok(());
    }
    println!("{} commands at {}/s over {} people, {} cores", samples.len(), options.rate, people.len(), cores());
    println!("{:<34} {:>8} {:>8} {:>8}", "milliseconds", "p50", "p99", "max");
    row("command sent to acknowledged", &times(&samples, |s| Some(s.acknowledged)));
    row("acknowledged to visible", &times(&samples, |s| Some(s.visible)));
    row("  of which a plain read costs", &times(&samples, |s| s.plain));
    Ok(())
}

/// Doubles the rate until it is not sustained, and then looks in between.
async fn find_highest(client: &reqwest::Client, options: &Arc<Options>) -> anyhow::Result<()> {
    ensure!(options.from > 0 && options.from <= options.to, "--from is at least 1 and at most --to");
    let seconds = options.seconds.unwrap_or(10);
    if !options.json {
        println!("{}", Machine::this());
        println!("runs of {seconds} s over {} people; milliseconds from acknowledged to visible", options.people);
        println!("{:>10} {:>8} {:>8} {:>8} {:>13} {:>13}  sustained", "commands/s", "p50", "p99", "max", "first third", "last third");
    }
    // So that the first rate does not pay for caches and connections.
    let _ = attempt(client, options, (options.from, 3)).await?; // The same rate is tried again, and judged.
    let (mut best, mut worst) = (None, None);
    let mut rate = options.from;
    for _ in 0..TRIES {
        let (samples, held) = attempt(client, options, (rate, seconds)).await?;
        show("try", options, (rate, seconds), &samples, held.as_ref().copied().map_err(String::as_str));
        let side = if held.is_ok() { &mut best } else { &mut worst };
        *side = Some(rate);
        rate = match (best, worst) {
            (Some(best), None) if best < options.to => best.saturating_mul(2).min(options.to),
            (None | Some(_), None) | (None, Some(1)) => break,
            (None, Some(worst)) => worst / 2,
            (Some(best), Some(worst)) if f64::from(worst) <= f64::from(best) * NEAR || worst - best <= 1 => break,
            (Some(best), Some(worst)) => u32::midpoint(best, worst),
        };
    }
    let mut rate = best.with_context(|| format!("not even {} commands/s are sustained", worst.unwrap_or(options.from)))?;
    for _ in 0..LONG_RUNS {
        let (samples, held) = attempt(client, options, (rate, seconds * 3)).await?;
        show("highest", options, (rate, seconds * 3), &samples, held.as_ref().copied().map_err(String::as_str));
        if held.is_ok() {
            let visible = times(&samples, |s| Some(s.visible));
            if !options.json {
                let more = if worst.is_none() { "at least (--to)" } else { "highest" };
                let (p50, p99, max) = (ms(&visible, 0.5), ms(&visible, 0.99), ms(&visible, 1.0));
                println!(
                    "{more}: {rate} commands/s sustained for {} s; acknowledged to visible p50 {p50} ms, p99 {p99} ms, max {max} ms",
                    seconds * 3
                );
            }
            return Ok(());
        }
        worst = Some(rate);
        rate = (rate - rate / 10).max(1);
    }
    anyhow::bail!("what is sustained for {seconds} s is not for {} s, even {LONG_RUNS} steps of a tenth lower", seconds * 3)
}

/// One rate with people of its own, and whether it is sustained, or why not. Whatever was under way is over afterwards.
async fn attempt(client: &reqwest::Client, options: &Arc<Options>, pace: (u32, u32)) -> anyhow::Result<(Vec<Sample>, Result<(), String>)> {
    let people = hire(client, options).await?;
    settle(client, options, &people[0]).await?;
    match measure(client, options, &people, pace, Plain::Skip).await? {
        Ok(samples) => {
            let held = sustained(&samples, pace.1, options.p99);
            Ok((samples, held))
        }
        Err(why) => {
            // The services notice that nobody waits any more.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok((Vec::new(), Err(why)))
        }
    }
}

/// Returns once what was acknowledged is visible: a raise of somebody who was just hired is behind all else in the log.
async fn settle(client: &reqwest::Client, options: &Options, person: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        match one(client, options, person, Plain::Skip).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context("what was written is not visible after two minutes")),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Whether the lag stays what it is; else why not.
fn sustained(samples: &[Sample], seconds: u32, p99: Option<u32>) -> Result<(), String> {
    let (first, last) = thirds(samples, seconds);
    if last > first * 1.5 + 10.0 {
        return Err(format!("the lag grows from {first:.1} to {last:.1} ms"));
    }
    let visible = ms(&times(samples, |s| Some(s.visible)), 0.99);
    match p99 {
        Some(limit) if visible > f64::from(limit) => Err(format!("p99 is {visible} ms")),
        Some(_) | None => Ok(()),
    }
}

/// The median lag of the first third and of the last, in milliseconds.
fn thirds(samples: &[Sample], seconds: u32) -> (f64, f64) {
    let third = Duration::from_secs(seconds.into()) / 3;
    let lag = |of: &dyn Fn(Duration) -> bool| ms(&times(samples, |s| of(s.due).then_some(s.lag)), 0.5);
    (lag(&|due| due < third), lag(&|due| due >= third * 2))
}

fn times(samples: &[Sample], of: impl Fn(&Sample) -> Option<Duration>) -> Histogram<u64> {
    let mut times = histogram();
    for time in samples.iter().filter_map(of) {
        times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
    times
}

fn row(name: &str, times: &Histogram<u64>) {
    println!("{name:<34} {:>8.1} {:>8.1} {:>8.1}", ms(times, 0.5), ms(times, 0.99), ms(times, 1.0));
}

fn show(phase: &str, options: &Options, (rate, seconds): (u32, u32), samples: &[Sample], held: Result<(), &str>) {
    if options.json {
        println!("{}", line(phase, rate, seconds, samples, held));
        return;
    }
    let said = match held {
        Ok(()) => "yes".to_owned(),
        Err(why) => format!("no: {why}"),
    };
    if samples.is_empty() {
        println!("{rate:>10} {:>8} {:>8} {:>8} {:>13} {:>13}  {said}", "-", "-", "-", "-", "-");
        return;
    }
    let (visible, (first, last)) = (times(samples, |s| Some(s.visible)), thirds(samples, seconds));
    let (p50, p99, max) = (ms(&visible, 0.5), ms(&visible, 0.99), ms(&visible, 1.0));
    println!("{rate:>10} {p50:>8.1} {p99:>8.1} {max:>8.1} {first:>13.1} {last:>13.1}  {said}");
}

/// A rate, for scripts.
fn line(phase: &str, rate: u32, seconds: u32, samples: &[Sample], held: Result<(), &str>) -> Value {
    let quantiles = |of: fn(&Sample) -> Option<Duration>| {
        let times = times(samples, of);
        (!times.is_empty()).then(|| json!({"p50": ms(&times, 0.5), "p99": ms(&times, 0.99), "max": ms(&times, 1.0)}))
    };
    let (first, last) = thirds(samples, seconds);
    json!({
        "bench": "visible", "phase": phase, "rate": rate, "seconds": seconds, "cores": cores(), "commands": samples.len(),
        "acknowledged_ms": quantiles(|s| Some(s.acknowledged)), "visible_ms": quantiles(|s| Some(s.visible)),
        "sent_to_visible_ms": quantiles(|s| Some(s.acknowledged + s.visible)), "plain_ms": quantiles(|s| s.plain),
        "lag_first_third_ms": round(first), "lag_last_third_ms": round(last),
        "sustained": held.is_ok(), "why_not": held.err(),
    })
}

/// A department, a job and the people, through the batch endpoint. Their ids.
async fn hire(client: &reqwest::Client, options: &Options) -> anyhow::Result<Vec<String>> {
    let run = uuid::Uuid::now_v7();
    let id = |name: String| uuid::Uuid::new_v5(&run, name.as_bytes()).to_string();
    let (department, job) = (id("department".into()), id("job".into()));
    let code = run.simple().to_string();
    let mut lines = vec![
        json!({"command": "CreateDepartment", "key": id("d".into()), "data": {"department_id": department, "effective_on": "2000-01-01", "code": code, "name": "Bench"}}),
        json!({"command": "CreateJob", "key": id("j".into()), "data": {"job_id": job, "effective_on": "2000-01-01", "code": code, "title": "Measured"}}),
    ];
    let mut people = Vec::new();
    for n in 0..options.people {
        let person = id(format!("person {n}"));
        lines.push(json!({"command": "HireEmployee", "key": id(format!("hire {n}")), "data": {
            "employee_id": person, "hire_date": "2001-01-01", "employee_number": format!("{}-{n}", &code[20..]),
            "person": {"given_name": "Bench", "family_name": format!("Number{n}")},
            "assignment": {"department_id": department, "job_id": job},
            "pay": {"rate": {"amount": "50000", "currency": "USD"}, "per": "year"}}}));
        people.push(person);
    }
    for part in lines.chunks(BATCH) {
        let body = part.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let request = client.post(format!("{}/v1/batch", options.command_api)).bearer_auth(&options.token);
        let answer = request.header("content-type", "application/x-ndjson").body(body).send().await?.error_for_status()?.text().await?;
        for line in answer.lines() {
            let result: Value = serde_json::from_str(line)?;
            ensure!(result["status"].as_u64().is_some_and(|s| s < 300), "the set-up was refused: {line}");
        }
    }
    Ok(people)
}

/// Commands at a rate for some seconds, or why that can't be sustained: one was refused, or it hopelessly lags behind.
async fn measure(
    client: &reqwest::Client,
    options: &Arc<Options>,
    people: &[String],
    (rate, seconds): (u32, u32),
    plain: Plain,
) -> anyhow::Result<Result<Vec<Sample>, String>> {
    let total = u64::from(rate) * u64::from(seconds);
    // Everything under way ends with this.
    let mut tasks = JoinSet::new();
    let mut samples = Vec::with_capacity(usize::try_from(total)?);
    let began = tokio::time::Instant::now();
    let mut take = |ended: Result<anyhow::Result<Sample>, tokio::task::JoinError>| -> anyhow::Result<Result<(), String>> {
        let why = match ended? {
            Ok(sample) if sample.lag <= HOPELESS => {
                samples.push(sample);
                return Ok(Ok(()));
            }
            Ok(sample) => format!("a command was visible only {:.1} s after it was due", sample.lag.as_secs_f64()),
            // Then another limit would be found than that of the feed.
            Err(error) if error.root_cause().to_string() == LIMITED => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        Ok(Err(why))
    };
    for n in 0..total {
        let due = Duration::from_secs(1).mul_f64(n as f64 / f64::from(rate));
        tokio::time::sleep_until(began + due).await;
        if began.elapsed() > due + HOPELESS || tasks.len() as u64 > u64::from(rate) * HOPELESS.as_secs() {
            return Ok(Err(format!("{} commands are under way at once, and the clients lag behind", tasks.len())));
        }
        let (client, options) = (client.clone(), Arc::clone(options));
        let person = people[usize::try_from(n)? % people.len()].clone();
        let plain = if n.is_multiple_of(PLAIN_EVERY) { plain } else { Plain::Skip };
        tasks.spawn(async move {
            let (acknowledged, visible, plain) = one(&client, &options, &person, plain).await.with_context(|| format!("command {n}"))?;
            // The plain read comes after.
            let lag = began.elapsed().saturating_sub(due + plain.unwrap_or_default());
            Ok(Sample { due, lag, acknowledged, visible, plain })
        });
        while let Some(ended) = tasks.try_join_next() {
            if let Err(why) = take(ended)? {
                return Ok(Err(why));
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(why) = take(ended)? {
            return Ok(Err(why));
        }
    }
    Ok(Ok(samples))
}

/// A command: the times until it was acknowledged, from there until it was visible, and of a plain read.
async fn one(
    client: &reqwest::Client,
    options: &Options,
    person: &str,
    plain: Plain,
) -> anyhow::Result<(Duration, Duration, Option<Duration>)> {
    let started = Instant::now();
    let pay = json!({"effective_on": "2002-01-01", "reason": "bench", "pay": {"rate": {"amount": (50_000 + fastrand::u32(0..100_000)).to_string(), "currency": "USD"}, "per": "year"}});
    let command = client.post(format!("{}/v1/employees/{person}/compensation-changes", options.command_api));
    let answer = command.bearer_auth(&options.token).header("idempotency-key", uuid::Uuid::now_v7().to_string()).json(&pay).send().await?;
    let status = answer.status();
    let body = answer.text().await?;
    ensure!(status.as_u16() != 429, "{LIMITED}");
    ensure!(status.is_success(), "{status} {body}");
    let acknowledged = started.elapsed();
    let body: Value = serde_json::from_str(&body)?;
    let position = body["position"].as_u64().context("an answer without a position")?;

    let read = || client.get(format!("{}/v1/employees/{person}", options.query_api)).bearer_auth(&options.token);
    let started = Instant::now();
    let seen = read().header("tenure-min-position", position).header("prefer", "wait=10").send().await?;
    let status = seen.status();
    ensure!(status.as_u16() != 429, "{LIMITED}");
    let text = seen.text().await?;
    ensure!(status.is_success(), "its read: {status} {text}");
    let visible = started.elapsed();
    if plain == Plain::Skip {
        return Ok((acknowledged, visible, None));
    }
    let started = Instant::now();
    read().send().await?.error_for_status()?.bytes().await?;
    Ok((acknowledged, visible, Some(started.elapsed())))
}
