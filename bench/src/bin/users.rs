//! Many users over many tenants, at HR work: log-in, browsing, searching, reading careers, self-service; and for each fifth
//! user, who works in HR, reports, pay changes, hires.
//!
//! Against a running system (`tenure up --detach --no-demo`), in whose tenants it makes people whose names tell the tenant.
//! Every answer is scanned for the names of another tenant's people. Each user waits a moment between two steps, and reads
//! their own writes. Ends with status 1 if a request failed or a foreign name was seen.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    /// The system's home, as given to `tenure up`.
    #[arg(long, default_value = ".tenure")]
    home: PathBuf,
    /// The `tenure` to make tenants and tokens with.
    #[arg(long, default_value = "target/release/tenure")]
    tenure: PathBuf,
    /// Concurrent users.
    #[arg(long, default_value_t = 500)]
    users: u32,
    /// Tenants that they belong to.
    #[arg(long, default_value_t = 100)]
    tenants: u32,
    /// People of each tenant at the beginning.
    #[arg(long, default_value_t = 200)]
    people: u32,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// A user's pause between two steps on average, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    pause: u64,
}

struct Tenant {
    name: String,
    token: String,
    owner: String,
    department: String,
    job: String,
    people: Vec<String>,
}

#[derive(Default)]
struct Tally {
    steps: BTreeMap<&'static str, Step>,
    foreign: u64,
}

struct Step {
    times: Histogram<u64>,
    errors: u64,
    example: Option<String>,
}

struct World {
    client: reqwest::Client,
    command_api: String,
    query_api: String,
    tenants: Vec<Tenant>,
    people: Vec<Person>,
}

/// Somebody who logs in.
struct Person {
    email: String,
    /// Which of the tenant's people.
    id: String,
    hr: bool,
}

/// What a log-in or a refresh gave.
struct Tokens {
    access: String,
    refresh: String,
}

const PASSWORD: &str = "correct horse battery staple";

/// What every made-up family name begins with; the tenant's name follows.
const MARK: &str = "Canary";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Arc::new(Options::parse());
    let world = Arc::new(World::prepare(&options).await?);
    eprintln!("{} tenants with {} people each are there; {} users begin", options.tenants, options.people, options.users);
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let users: Vec<_> = (0..options.users).map(|n| tokio::spawn(user(Arc::clone(&world), n as usize, end, options.pause))).collect();
    let mut all = Tally::default();
    for user in users {
        all.add(user.await?)?;
    }
    all.print(&options)
}

impl World {
    async fn prepare(options: &Arc<Options>) -> anyhow::Result<Self> {
        let status = run(options, &["status"]).await?;
        let base = |name: &str| -> anyhow::Result<String> {
            let process = status["processes"].as_array().into_iter().flatten().find(|process| process["name"] == name);
            Ok(process
                .and_then(|process| process["address"].as_str())
                .with_context(|| format!("no address of {name} in {status}"))?
                .to_owned())
        };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(usize::MAX).build()?;
        let (command_api, query_api) = (base("tenure-command-api")?, base("tenure-query-api")?);
        let mut world = Self { client, command_api, query_api, tenants: Vec::new(), people: Vec::new() };
        let run = &Uuid::now_v7().simple().to_string()[20..];
        let names: Vec<String> = (0..options.tenants).map(|n| format!("users-{run}-{n}")).collect();
        world.tenants = stream::iter(names).map(|name| world.tenant(options, name)).buffer_unordered(8).try_collect().await?;
        world.people = stream::iter(0..options.users).map(|n| world.invite(n as usize)).buffered(8).try_collect().await?;
        Ok(world)
    }
    /// A user of a tenant with an account that is active.
    async fn invite(&self, n: usize) -> anyhow::Result<Person> {
        let tenant = &self.tenants[n % self.tenants.len()];
        let nth = n / self.tenants.len();
        let hr = nth.is_multiple_of(5);
        let person = Person { email: format!("user{n}@example.com"), id: tenant.people[nth % tenant.people.len()].clone(), hr };
        let body = json!({"email": person.email, "roles": [if hr { "hr" } else { "employee" }], "employee_id": person.id});
        let request = self.client.post(format!("{}/v1/users", self.command_api)).bearer_auth(&tenant.owner).json(&body);
        let invited: Value = request.send().await?.error_for_status()?.json().await?;
        let activation = json!({"ticket": invited["ticket"], "password": PASSWORD});
        self.client.post(format!("{}/v1/auth/activation", self.command_api)).json(&activation).send().await?.error_for_status()?;
        Ok(person)
    }
    async fn tenant(&self, options: &Options, name: String) -> anyhow::Result<Tenant> {
        run(options, &["tenant", "create", "--slug", &name, "--name", &name]).await?;
        let token = run(options, &["token", "--tenant", &name, "--role", "hr"]).await?;
        let token = token["token"].as_str().context("no token")?.to_owned();
        let owner = run(options, &["token", "--tenant", &name, "--role", "owner"]).await?;
        let owner = owner["token"].as_str().context("no token")?.to_owned();
        let id = |what: &str| Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{name}/{what}").as_bytes()).to_string();
        let (department, job) = (id("department"), id("job"));
        let mut lines = vec![
            json!({"command": "CreateDepartment", "key": id("a"), "data": {"department_id": department, "effective_on": "2000-01-01", "code": "d", "name": "Department"}}),
            json!({"command": "CreateJob", "key": id("b"), "data": {"job_id": job, "effective_on": "2000-01-01", "code": "j", "title": "Job"}}),
        ];
        let mut tenant = Tenant { name, token, owner, department, job, people: Vec::new() };
        for n in 0..options.people {
            let person = Uuid::now_v7().to_string();
            let mut data = tenant.hire(&n.to_string());
            data["employee_id"] = json!(person);
            if let Some(manager) = tenant.people.get(n as usize / 8).filter(|_| n > 0) {
                data["assignment"]["manager_id"] = json!(manager);
            }
            lines.push(json!({"command": "HireEmployee", "key": person, "data": data}));
            tenant.people.push(person);
        }
        // A manager has to be there before those who report to them: level by level.
        for part in lines.chunks(8) {
            let body = part.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
            let request = self.client.post(format!("{}/v1/batch", self.command_api)).bearer_auth(&tenant.token);
            let answer = request.header("content-type", "application/x-ndjson").body(body).send().await?.error_for_status()?.text().await?;
            for line in answer.lines() {
                let result: Value = serde_json::from_str(line)?;
                ensure!(result["status"].as_u64().is_some_and(|status| status < 300), "the set-up was refused: {line}");
            }
        }
        Ok(tenant)
    }
}

impl Tenant {
    fn hire(&self, number: &str) -> Value {
        json!({"hire_date": "2015-01-01", "employee_number": number,
            "person": {"given_name": format!("Given{number}"), "family_name": format!("{MARK}{}.", self.name)},
            "assignment": {"department_id": self.department, "job_id": self.job},
            "pay": {"rate": {"amount": "50000", "currency": "EUR"}, "per": "year"}})
    }
}

/// One user, until the end.
async fn user(world: Arc<World>, n: usize, end: Instant, pause: u64) -> Tally {
    let (tenant, me) = (&world.tenants[n % world.tenants.len()], &world.people[n]);
    let mut tally = Tally::default();
    // Not all at the same moment.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=pause * 5))).await;
    let credentials = json!({"email": me.email, "password": PASSWORD});
    let Some(mut tokens) = tally.tokens("log-in", &world, tenant, "login", &credentials).await else { return tally };
    while Instant::now() < end {
        let person = &tenant.people[fastrand::usize(..tenant.people.len())];
        let day = format!("20{}-0{}-15", fastrand::u32(15..26), fastrand::u32(1..10));
        let get = |path: String| world.client.get(format!("{}{path}", world.query_api));
        let token = tokens.access.clone();
        let step = async |tally: &mut Tally, name, request| drop(tally.step(name, tenant, &token, request).await);
        match fastrand::u32(0..100) {
            0..25 => step(&mut tally, "list of people", get(format!("/v1/employees?limit=50&as_of={day}"))).await,
            25..45 => step(&mut tally, "person", get(format!("/v1/employees/{person}"))).await,
            45..55 => step(&mut tally, "career", get(format!("/v1/employees/{}/history", if me.hr { person } else { &me.id }))).await,
            55..70 => step(&mut tally, "search by name", get(format!("/v1/employees?q=given{}", fastrand::u32(0..100)))).await,
            70..75 => step(&mut tally, "org chart", get(format!("/v1/org-chart?as_of={day}"))).await,
            75..80 => step(&mut tally, "headcount", get(format!("/v1/reports/headcount?as_of={day}&group_by=department"))).await,
            80..82 => {
                let refresh = json!({"refresh_token": tokens.refresh});
                match tally.tokens("refresh", &world, tenant, "refresh", &refresh).await {
                    Some(next) => tokens = next,
                    None => return tally,
                }
            }
            82..97 if me.hr => {
                let raise = json!({"effective_on": day, "reason": "review",
                    "pay": {"rate": {"amount": fastrand::u32(40_000..90_000).to_string(), "currency": "EUR"}, "per": "year"}});
                let url = format!("{}/v1/employees/{person}/compensation-changes", world.command_api);
                drop(tally.command("pay change", &world, (tenant, &token), url, &raise, Some(person)).await);
            }
            97.. if me.hr => {
                let url = format!("{}/v1/employees", world.command_api);
                let hire = tenant.hire(&Uuid::now_v7().simple().to_string());
                drop(tally.command("hire", &world, (tenant, &token), url, &hire, None).await);
            }
            _ => {
                let number = json!({"effective_on": day, "changes": {"phone": format!("+43{}", fastrand::u32(1_000_000..9_999_999))}});
                let url = format!("{}/v1/employees/{}/contact-details", world.command_api, me.id);
                drop(tally.command("own telephone number", &world, (tenant, &token), url, &number, Some(&me.id)).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(pause / 2..=pause * 3 / 2))).await;
    }
    tally
}

impl Tally {
    /// A command, and the read of what it wrote.
    async fn command(
        &mut self,
        name: &'static str,
        world: &World,
        (tenant, token): (&Tenant, &str),
        url: String,
        body: &Value,
        person: Option<&str>,
    ) -> Option<Value> {
        let request = world.client.post(url).header("idempotency-key", Uuid::now_v7().to_string()).json(body);
        let answer = self.step(name, tenant, token, request).await?;
        let person = person.or(answer["id"].as_str())?.to_owned();
        let read = world.client.get(format!("{}/v1/employees/{person}", world.query_api));
        let read = read.header("tenure-min-position", answer["position"].to_string()).header("prefer", "wait=10");
        self.step("read of one's own write", tenant, token, read).await
    }
    /// What a log-in or a refresh at the tenant's host gives.
    async fn tokens(&mut self, name: &'static str, world: &World, tenant: &Tenant, path: &str, body: &Value) -> Option<Tokens> {
        let request = world.client.post(format!("{}/v1/auth/{path}", world.command_api)).header("tenure-tenant", &tenant.name).json(body);
        let answer = self.step(name, tenant, "", request).await?;
        Some(Tokens { access: answer["access_token"].as_str()?.to_owned(), refresh: answer["refresh_token"].as_str()?.to_owned() })
    }
    async fn step(&mut self, name: &'static str, tenant: &Tenant, token: &str, request: reqwest::RequestBuilder) -> Option<Value> {
        let started = Instant::now();
        let outcome = async {
            let request = if token.is_empty() { request } else { request.bearer_auth(token) };
            let response = request.send().await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = response.text().await.map_err(|error| error.to_string())?;
            if status.is_success() { Ok(body) } else { Err(format!("{status} {body}")) }
        }
        .await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let step = self.steps.entry(name).or_insert_with(|| Step { times: histogram(), errors: 0, example: None });
        step.times.saturating_record(micros);
        let text = match &outcome {
            Ok(body) | Err(body) => body,
        };
        // With the full stop: one tenant's name may be the beginning of another's.
        let own = format!("{}.", tenant.name);
        self.foreign += text.match_indices(MARK).filter(|(at, _)| !text[at + MARK.len()..].starts_with(&own)).count() as u64;
        match outcome {
            Ok(body) => serde_json::from_str(&body).ok(),
            Err(error) => {
                step.errors += 1;
                step.example.get_or_insert(error);
                None
            }
        }
    }
    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.foreign += other.foreign;
        for (name, step) in other.steps {
            let sum = self.steps.entry(name).or_insert_with(|| Step { times: histogram(), errors: 0, example: None });
            sum.times.add(step.times)?;
            sum.errors += step.errors;
            sum.example = sum.example.take().or(step.example);
        }
        Ok(())
    }
    fn print(&self, options: &Options) -> anyhow::Result<()> {
        let (requests, errors) =
            self.steps.values().fold((0, 0), |(requests, errors), step| (requests + step.times.len(), errors + step.errors));
        println!(
            "{} users over {} tenants for {} s, {} cores: {requests} requests ({:.0}/s), {errors} errors, {} foreign names seen",
            options.users,
            options.tenants,
            options.seconds,
            std::thread::available_parallelism()?,
            requests as f64 / options.seconds as f64,
            self.foreign
        );
        println!("{:<26} {:>9} {:>7} {:>8} {:>8} {:>8}", "milliseconds", "requests", "errors", "p50", "p99", "max");
        let ms = |micros: u64| format!("{:.1}", Duration::from_micros(micros).as_secs_f64() * 1000.0);
        for (name, step) in &self.steps {
            let times = &step.times;
            let (p50, p99, max) = (ms(times.value_at_quantile(0.5)), ms(times.value_at_quantile(0.99)), ms(times.max()));
            println!("{name:<26} {:>9} {:>7} {p50:>8} {p99:>8} {max:>8}", times.len(), step.errors);
        }
        for (name, example) in self.steps.iter().filter_map(|(name, step)| Some((name, step.example.as_ref()?))) {
            println!("{name}: {example}");
        }
        ensure!(errors == 0, "{errors} requests failed");
        ensure!(self.foreign == 0, "{} names of another tenant's people were seen", self.foreign);
        Ok(())
    }
}

/// Microseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid")
}

/// Runs `tenure` with `--json`; what it printed.
async fn run(options: &Options, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = tokio::process::Command::new(&options.tenure);
    command.arg("--home").arg(&options.home).arg("--json").args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), command.output()).await.context("tenure did not end")??;
    ensure!(output.status.success(), "tenure {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("tenure {} printed no JSON", arguments.join(" ")))
}
