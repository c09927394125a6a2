//! Many users over many tenants, at HR work: log-in, browsing, searching, reading careers, self-service; and for each fifth
//! user, who works in HR, reports, pay changes, hires.
//!
//! Against a running system (`tenure up --detach --no-demo`), in whose tenants it makes people whose names tell the tenant.
//! Every answer is scanned for the names of another tenant's people. Each user waits a moment between two steps, and reads
//! their own writes. Ends with status 1 if a request failed or a foreign name was seen.
//!
//! With several numbers of tenants the same users work in turns over few and over many, all of whom are there from the
//! beginning, and the ratio within a round says what many tenants cost.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bench::{
    Rounds, cores, histogram,
    machine::Machine,
    ms, round,
    up::{Progress, Up},
};
use clap::Parser;
use futures::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Parser)]
#[command(
    about = "Many users over many tenants at HR work, against a system that `tenure up --detach --no-demo` started.",
    after_help = "Examples:
  users --users 500 --tenants 100 --seconds 600       as people work, with pauses
  users --tenants 10,1000 --users 100 --pause 0 --seconds 10 --rounds 5
                                                      what 1,000 tenants cost: the same 100 users in a closed loop, in turns
                                                      over 10 and over 1,000 tenants of one system, with the ratio"
)]
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
    /// Tenants that they belong to. Several numbers are compared with the first, in turns; then everybody has as many
    /// accounts as it takes to reach all tenants, and the accounts are as many for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [100])]
    tenants: Vec<u32>,
    /// People of each tenant at the beginning.
    #[arg(long, default_value_t = 200)]
    people: u32,
    /// Over so many seconds they come and log in, one after the other, before times are taken (but those of log-ins).
    #[arg(long, default_value_t = 60)]
    ramp: u64,
    /// How long to measure, in seconds; where several numbers of tenants are compared, each in each round.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Rounds, where several numbers of tenants are compared; another goes before and does not count.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// A user's pause between two steps on average, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    pause: u64,
    /// Lines of JSON instead of tables: one when the users begin, one per result.
    #[arg(long)]
    json: bool,
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
    /// Before, only what fails is noted, and how long log-ins take.
    from: Option<Instant>,
    /// Requests since then.
    counted: u64,
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
    since: Instant,
}

/// One of the people of a [`World`], logged in or not yet.
struct Account {
    n: usize,
    tokens: Option<Tokens>,
}

/// When an access token is refreshed before somebody is told that it is too old.
const OLD: Duration = Duration::from_mins(5);

const PASSWORD: &str = "correct horse battery staple";

/// How many people report to one.
const SPAN: usize = 8;

/// What every made-up family name begins with; the tenant's name follows.
const MARK: &str = "Canary";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(options.users > 0 && options.people > 0 && options.seconds > 0, "--users, --people and --seconds are at least 1");
    ensure!(options.tenants.iter().all(|tenants| *tenants > 0), "--tenants is at least 1");
    let up = Up::new(&options.tenure, &options.home);
    match options.tenants[..] {
        [tenants] => at_work(&options, &up, tenants).await,
        _ => compare(&options, &up).await,
    }
}

/// As people work: they come one after the other, and log in.
async fn at_work(options: &Options, up: &Up, tenants: u32) -> anyhow::Result<()> {
    let world = Arc::new(World::prepare(options, up, tenants, options.users).await?);
    let ramp = Duration::from_secs(options.ramp);
    eprintln!("{tenants} tenants with {} people each are there; {} users come within {ramp:?}", options.people, options.users);
    let mut accounts = Account::all(options.users);
    let begin = async {
        tokio::time::sleep(ramp).await;
        eprintln!("the users begin");
        if options.json {
            println!(
                "{}",
                json!({"bench": "users", "phase": "begin", "users": options.users, "tenants": tenants, "people": options.people})
            );
        }
    };
    let (ran, ()) = tokio::join!(run(&world, options, ramp, &mut accounts), begin);
    let (tally, _) = ran?;
    tally.print(options, tenants)?;
    tally.check()
}

/// The same users in a loop, in turns over few tenants and over many.
async fn compare(options: &Options, up: &Up) -> anyhow::Result<()> {
    let most = options.tenants.iter().copied().max().unwrap_or_default().max(options.users);
    let mut sides = Vec::new();
    for &tenants in &options.tenants {
        let world = Arc::new(World::prepare(options, up, tenants, most).await?);
        let mut progress = Progress::new(&format!("log-ins over {tenants} tenants"), most.into());
        let mut log_ins = stream::iter(Account::all(most)).map(|account| account.log_in(&world)).buffer_unordered(8);
        let mut accounts = Vec::new();
        while let Some(account) = log_ins.next().await {
            accounts.push(account?);
            progress.one_more();
        }
        drop(log_ins);
        sides.push(Side { tenants, world, accounts, tally: Tally::default(), rates: Rounds::default(), ratios: Rounds::default() });
    }
    for nth in 0..=options.rounds {
        eprintln!("round {nth} of {}{}", options.rounds, if nth == 0 { ", which fills caches and does not count" } else { "" });
        let mut rates = vec![0.0; sides.len()];
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if nth % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let side = &mut sides[at];
            let (tally, took) = run(&side.world, options, Duration::ZERO, &mut side.accounts).await?;
            let requests: u64 = tally.steps.values().map(|step| step.times.len()).sum();
            rates[at] = requests as f64 / took.as_secs_f64();
            // Failures count in any case.
            if nth > 0 || tally.check().is_err() {
                side.tally.add(tally)?;
            }
        }
        if nth > 0 {
            for (side, rate) in sides.iter_mut().zip(&rates) {
                side.rates.push(*rate);
                side.ratios.push(rate / rates[0]);
            }
        }
    }
    print_comparison(options, &sides, most)?;
    sides.iter().try_for_each(|side| side.tally.check())
}

/// So many tenants, and what came of them.
struct Side {
    tenants: u32,
    world: Arc<World>,
    accounts: Vec<Account>,
    tally: Tally,
    rates: Rounds,
    ratios: Rounds,
}

fn print_comparison(options: &Options, sides: &[Side], accounts: u32) -> anyhow::Result<()> {
    let first = sides[0].tenants;
    if !options.json {
        println!("{}", Machine::this());
        println!(
            "{} users with {accounts} accounts, {} ms between two steps, {} people per tenant; medians of {} rounds of {} s",
            options.users, options.pause, options.people, options.rounds, options.seconds
        );
        let ratio = format!("/ {first} tenants");
        println!("{:>8} {:>11} {:>8} {:>8} {:>8} {:>8}   {ratio}", "tenants", "requests/s", "p50 ms", "p99 ms", "max ms", "errors");
    }
    for Side { tenants, tally, rates, ratios, .. } in sides {
        let mut times = histogram();
        for step in tally.steps.values() {
            times.add(&step.times)?;
        }
        let errors: u64 = tally.steps.values().map(|step| step.errors).sum();
        if options.json {
            let line = json!({
                "bench": "users", "phase": "comparison", "tenants": tenants, "users": options.users, "accounts": accounts,
                "people": options.people, "pause_ms": options.pause, "cores": cores(), "requests_per_s": rates.json(),
                "p50_ms": ms(&times, 0.5), "p99_ms": ms(&times, 0.99), "max_ms": ms(&times, 1.0), "errors": errors,
                "foreign": tally.foreign, "compared_with": first, "ratio": ratios.json(),
            });
            println!("{line}");
        } else {
            let (p50, p99, max) = (ms(&times, 0.5), ms(&times, 0.99), ms(&times, 1.0));
            println!("{tenants:>8} {:>11.0} {p50:>8.1} {p99:>8.1} {max:>8.1} {errors:>8}   {ratios}", rates.median());
        }
        tally.print_examples(options);
    }
    Ok(())
}

/// All users at once for the time given, once all have come; what came of it, and how long it took.
async fn run(world: &Arc<World>, options: &Options, ramp: Duration, accounts: &mut Vec<Account>) -> anyhow::Result<(Tally, Duration)> {
    let users = options.users as usize;
    let mut shares: Vec<Vec<Account>> = (0..users).map(|_| Vec::new()).collect();
    for account in accounts.drain(..) {
        shares[account.n % users].push(account);
    }
    let now = Instant::now();
    let (from, end) = (now + ramp, now + ramp + Duration::from_secs(options.seconds));
    let tasks: Vec<_> = (0..options.users)
        .zip(shares)
        .map(|(nth, share)| {
            // Not all at the same moment, even if all come at once.
            let comes = now + ramp * nth / options.users + Duration::from_millis(fastrand::u64(0..=options.pause));
            tokio::spawn(user(Arc::clone(world), share, (comes, from, end), options.pause))
        })
        .collect();
    let mut all = Tally::default();
    for task in tasks {
        let (tally, share) = task.await?;
        all.add(tally)?;
        accounts.extend(share);
    }
    Ok((all, from.elapsed()))
}

impl Account {
    fn all(count: u32) -> Vec<Self> {
        (0..count as usize).map(|n| Self { n, tokens: None }).collect()
    }
    /// Before anything is measured.
    async fn log_in(mut self, world: &World) -> anyhow::Result<Self> {
        let mut tally = Tally::default();
        self.tokens = tally.log_in(world, self.n).await;
        tally.check()?;
        Ok(self)
    }
}

impl World {
    /// So many tenants of its own with people, and so many accounts.
    async fn prepare(options: &Options, up: &Up, tenants: u32, accounts: u32) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(usize::MAX).build()?;
        let (command_api, query_api) = (up.address("tenure-command-api").await?, up.address("tenure-query-api").await?);
        let mut world = Self { client, command_api, query_api, tenants: Vec::new(), people: Vec::new() };
        let run = &Uuid::now_v7().simple().to_string()[20..];
        let names: Vec<String> = (0..tenants).map(|n| format!("users-{run}-{n}")).collect();
        let mut progress = Progress::new(&format!("tenants with {} people each", options.people), tenants.into());
        let mut making = stream::iter(names).map(|name| world.tenant(options, up, name)).buffer_unordered(8);
        let mut made = Vec::new();
        while let Some(tenant) = making.next().await {
            made.push(tenant?);
            progress.one_more();
        }
        drop(making);
        world.tenants = made;
        let mut progress = Progress::new("accounts", accounts.into());
        let mut inviting = stream::iter(0..accounts).map(|n| world.invite(n as usize)).buffered(8);
        let mut people = Vec::new();
        while let Some(person) = inviting.next().await {
            people.push(person?);
            progress.one_more();
        }
        drop(inviting);
        world.people = people;
        Ok(world)
    }
    /// A user of a tenant with an account that is active.
    async fn invite(&self, n: usize) -> anyhow::Result<Person> {
        let tenant = self.tenant_of(n);
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
    async fn tenant(&self, options: &Options, up: &Up, name: String) -> anyhow::Result<Tenant> {
        up.tenant(&name).await?;
        let (token, owner) = (up.token(&name, "hr").await?, up.token(&name, "owner").await?);
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
            if let Some(manager) = tenant.people.get(n as usize / SPAN).filter(|_| n > 0) {
                data["assignment"]["manager_id"] = json!(manager);
            }
            lines.push(json!({"command": "HireEmployee", "key": person, "data": data}));
            tenant.people.push(person);
        }
        // A manager has to be there before those who report to them, and so the department and the job before anybody.
        let (mut sent, mut until) = (0, 2);
        while sent < lines.len() {
            let part = &lines[sent..until.min(lines.len())];
            sent += part.len();
            until = 2 + (SPAN * (sent - 2)).max(1);
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

impl World {
    /// The tenant of an account.
    fn tenant_of(&self, n: usize) -> &Tenant {
        &self.tenants[n % self.tenants.len()]
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

/// One user, who comes, is measured from some time on, and works until the end: each step with the next of the accounts, which
/// are given back.
async fn user(
    world: Arc<World>,
    mut accounts: Vec<Account>,
    (comes, from, end): (Instant, Instant, Instant),
    pause: u64,
) -> (Tally, Vec<Account>) {
    let mut tally = Tally { from: Some(from), ..Tally::default() };
    tokio::time::sleep_until(comes.into()).await;
    for at in (0..accounts.len()).cycle() {
        if Instant::now() >= end {
            break;
        }
        let account = &mut accounts[at];
        let (tenant, me) = (world.tenant_of(account.n), &world.people[account.n]);
        let tokens = match account.tokens.take() {
            Some(tokens) if tokens.since.elapsed() > OLD => tally.refresh(&world, tenant, &tokens).await,
            Some(tokens) => Some(tokens),
            None => tally.log_in(&world, account.n).await,
        };
        let Some(tokens) = tokens else {
            // They are told to try again, and do.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let person = &tenant.people[fastrand::usize(..tenant.people.len())];
        let day = format!("20{}-0{}-15", fastrand::u32(15..26), fastrand::u32(1..10));
        let get = |path: String| world.client.get(format!("{}{path}", world.query_api));
        let token = tokens.access.clone();
        account.tokens = Some(tokens);
        let step = async |tally: &mut Tally, name, request| drop(tally.step(name, tenant, &token, request).await);
        match fastrand::u32(0..100) {
            0..25 => step(&mut tally, "list of people", get(format!("/v1/employees?limit=50&as_of={day}"))).await,
            25..45 => step(&mut tally, "person", get(format!("/v1/employees/{person}"))).await,
            45..55 => step(&mut tally, "career", get(format!("/v1/employees/{}/history", if me.hr { person } else { &me.id }))).await,
            55..70 => step(&mut tally, "search by name", get(format!("/v1/employees?q=given{}", fastrand::u32(0..100)))).await,
            70..75 => step(&mut tally, "org chart", get(format!("/v1/org-chart?as_of={day}"))).await,
            75..80 => step(&mut tally, "headcount", get(format!("/v1/reports/headcount?as_of={day}&group_by=department"))).await,
            80..82 => {
                if let Some(tokens) = account.tokens.take() {
                    account.tokens = tally.refresh(&world, tenant, &tokens).await;
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
        // A sleep of nothing still takes until the next tick of the timer.
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(pause / 2..=pause * 3 / 2))).await;
        }
    }
    (tally, accounts)
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
    async fn log_in(&mut self, world: &World, n: usize) -> Option<Tokens> {
        let credentials = json!({"email": world.people[n].email, "password": PASSWORD});
        self.tokens("log-in", world, world.tenant_of(n), "login", &credentials).await
    }
    async fn refresh(&mut self, world: &World, tenant: &Tenant, tokens: &Tokens) -> Option<Tokens> {
        self.tokens("refresh", world, tenant, "refresh", &json!({"refresh_token": tokens.refresh})).await
    }
    /// What a log-in or a refresh at the tenant's host gives.
    async fn tokens(&mut self, name: &'static str, world: &World, tenant: &Tenant, path: &str, body: &Value) -> Option<Tokens> {
        let request = world.client.post(format!("{}/v1/auth/{path}", world.command_api)).header("tenure-tenant", &tenant.name).json(body);
        let answer = self.step(name, tenant, "", request).await?;
        let (access, refresh) = (answer["access_token"].as_str()?.to_owned(), answer["refresh_token"].as_str()?.to_owned());
        Some(Tokens { access, refresh, since: Instant::now() })
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
        let counts = self.from.is_none_or(|from| started >= from);
        self.counted += u64::from(counts);
        if counts || name == "log-in" {
            step.times.saturating_record(micros);
        }
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
        self.counted += other.counted;
        for (name, step) in other.steps {
            let sum = self.steps.entry(name).or_insert_with(|| Step { times: histogram(), errors: 0, example: None });
            sum.times.add(step.times)?;
            sum.errors += step.errors;
            sum.example = sum.example.take().or(step.example);
        }
        Ok(())
    }
    fn print(&self, options: &Options, tenants: u32) -> anyhow::Result<()> {
        let (requests, errors) =
            self.steps.values().fold((0, 0), |(requests, errors), step| (requests + step.times.len(), errors + step.errors));
        let rate = self.counted as f64 / options.seconds as f64;
        let mut times = histogram();
        for step in self.steps.values() {
            times.add(&step.times)?;
        }
        if options.json {
            let step = |(name, step): (&&str, &Step)| {
                let line = json!({"requests": step.times.len(), "errors": step.errors, "p50_ms": ms(&step.times, 0.5),
                    "p99_ms": ms(&step.times, 0.99), "max_ms": ms(&step.times, 1.0)});
                ((*name).to_owned(), line)
            };
            let steps: serde_json::Map<String, Value> = self.steps.iter().map(step).collect();
            let line = json!({
                "bench": "users", "phase": "end", "users": options.users, "tenants": tenants, "people": options.people, "cores": cores(),
                "ramp_s": options.ramp, "seconds": options.seconds, "pause_ms": options.pause, "requests": requests, "requests_per_s": round(rate),
                "p50_ms": ms(&times, 0.5), "p99_ms": ms(&times, 0.99), "errors": errors, "foreign": self.foreign, "steps": steps,
            });
            println!("{line}");
        } else {
            println!(
                "{} users over {tenants} tenants for {} s, {} cores: {requests} requests ({rate:.0}/s), {errors} errors, {} foreign names seen",
                options.users,
                options.seconds,
                cores(),
                self.foreign
            );
            println!("{:<26} {:>9} {:>7} {:>8} {:>8} {:>8}", "milliseconds", "requests", "errors", "p50", "p99", "max");
            for (name, step) in &self.steps {
                let (p50, p99, max) = (ms(&step.times, 0.5), ms(&step.times, 0.99), ms(&step.times, 1.0));
                println!("{name:<26} {:>9} {:>7} {p50:>8.1} {p99:>8.1} {max:>8.1}", step.times.len(), step.errors);
            }
        }
        self.print_examples(options);
        Ok(())
    }
    /// Of what failed.
    fn print_examples(&self, options: &Options) {
        for (name, example) in self.steps.iter().filter_map(|(name, step)| Some((name, step.example.as_ref()?))) {
            if options.json { eprintln!("{name}: {example}") } else { println!("{name}: {example}") }
        }
    }
    /// Whether all went well.
    fn check(&self) -> anyhow::Result<()> {
        let errors: u64 = self.steps.values().map(|step| step.errors).sum();
        let example = self.steps.values().find_map(|step| step.example.as_deref()).unwrap_or_default();
        ensure!(errors == 0, "{errors} requests failed, such as: {example}");
        ensure!(self.foreign == 0, "{} names of another tenant's people were seen", self.foreign);
        Ok(())
    }
}
