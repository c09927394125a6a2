//! How long after its acknowledgement is a command visible? Against a running system (`tenure up`).
//!
//! Sends pay changes at a fixed rate (open loop: a late answer delays no later command). After each acknowledgement it
//! asks for the person with `Tenure-Min-Position`, and takes the time until that answer. The same query without the
//! header, measured in the same run, is the limit: what a read costs anyway.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Parser)]
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
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// How many people to change the pay of.
    #[arg(long, default_value_t = 500)]
    people: u32,
}

struct Sample {
    acknowledged: Duration,
    visible: Duration,
    plain: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Arc::new(Options::parse());
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(512).build()?;
    let people = hire(&client, &options).await?;
    measure(&client, &options, &people, 2).await?; // Warm up.
    let samples = measure(&client, &options, &people, options.seconds).await?;
    println!(
        "{} commands at {}/s over {} people, {} cores",
        samples.len(),
        options.rate,
        people.len(),
        std::thread::available_parallelism()?
    );
    println!("{:<34} {:>8} {:>8} {:>8}", "milliseconds", "p50", "p99", "max");
    row("command sent to acknowledged", &samples, |s| s.acknowledged)?;
    row("acknowledged to visible", &samples, |s| s.visible)?;
    row("  of which a plain read costs", &samples, |s| s.plain)?;
    Ok(())
}

fn row(name: &str, samples: &[Sample], of: impl Fn(&Sample) -> Duration) -> anyhow::Result<()> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for sample in samples {
        histogram.record(u64::try_from(of(sample).as_micros())?)?;
    }
    let ms = |micros: u64| format!("{:.1}", Duration::from_micros(micros).as_secs_f64() * 1000.0);
    println!(
        "{name:<34} {:>8} {:>8} {:>8}",
        ms(histogram.value_at_quantile(0.5)),
        ms(histogram.value_at_quantile(0.99)),
        ms(histogram.max())
    );
    Ok(())
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
    let body = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let request = client.post(format!("{}/v1/batch", options.command_api)).bearer_auth(&options.token);
    let answer = request.header("content-type", "application/x-ndjson").body(body).send().await?.error_for_status()?.text().await?;
    for line in answer.lines() {
        let result: Value = serde_json::from_str(line)?;
        ensure!(result["status"].as_u64().is_some_and(|s| s < 300), "the set-up was refused: {line}");
    }
    Ok(people)
}

async fn measure(client: &reqwest::Client, options: &Arc<Options>, people: &[String], seconds: u32) -> anyhow::Result<Vec<Sample>> {
    let (done, mut samples) = mpsc::unbounded_channel();
    let total = options.rate * seconds;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for n in 0..total {
        ticks.tick().await;
        let (client, options, done) = (client.clone(), Arc::clone(options), done.clone());
        let person = people[n as usize % people.len()].clone();
        tokio::spawn(async move {
            let _ = done.send(one(&client, &options, &person, n).await); // The receiver outlives the tasks.
        });
    }
    drop(done);
    let mut all = Vec::new();
    while let Some(sample) = samples.recv().await {
        all.push(sample?);
    }
    Ok(all)
}

async fn one(client: &reqwest::Client, options: &Options, person: &str, n: u32) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let pay = json!({"effective_on": "2002-01-01", "reason": "bench", "pay": {"rate": {"amount": (50_000 + fastrand::u32(0..100_000)).to_string(), "currency": "USD"}, "per": "year"}});
    let command = client.post(format!("{}/v1/employees/{person}/compensation-changes", options.command_api));
    let answer = command.bearer_auth(&options.token).header("idempotency-key", uuid::Uuid::now_v7().to_string()).json(&pay).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    ensure!(status.is_success(), "command {n}: {status} {body}");
    let acknowledged = started.elapsed();
    let position = body["position"].as_u64().context("an answer without a position")?;

    let read = || client.get(format!("{}/v1/employees/{person}", options.query_api)).bearer_auth(&options.token);
    let started = Instant::now();
    let seen = read().header("tenure-min-position", position).header("prefer", "wait=10").send().await?;
    ensure!(seen.status().is_success(), "query {n}: {}", seen.text().await?);
    seen.bytes().await?;
    let visible = started.elapsed();

    let started = Instant::now();
    read().send().await?.error_for_status()?.bytes().await?;
    Ok(Sample { acknowledged, visible, plain: started.elapsed() })
}
