//! How long the rules take: parse, decide, claims and evolve of one pay change on a person with 20 events.
//! `cargo run --release -p bench --bin decide`

use std::{hint::black_box, time::Instant};

use domain::{Command, Facts, Standing, employee};

const ROUNDS: u32 = 200_000;
const ID: &str = "0190a7b2-6c3e-7def-8000-0123456789ab";

fn command(name: &str, fields: &str) -> anyhow::Result<employee::Command> {
    let data = serde_json::value::RawValue::from_string(format!("{{\"employee_id\":\"{ID}\",{fields}}}"))?;
    match Command::parse(name, &data)? {
        Command::Employee(command) => Ok(command),
        Command::Organization(_) | Command::Tenancy(_) => anyhow::bail!("not an employee's command"),
    }
}

fn raise(year: u16, amount: u32) -> String {
    format!(
        r#""effective_on":"{year}-01-01","pay":{{"rate":{{"amount":"{amount}","currency":"USD"}},"per":"year"}},"reason":"annual_review""#
    )
}

fn main() -> anyhow::Result<()> {
    let hire = command(
        "HireEmployee",
        &format!(
            r#""hire_date":"1985-06-01","employee_number":"10001","person":{{"given_name":"Georgi","family_name":"Facello"}},
            "assignment":{{"department_id":"{ID}","job_id":"{ID}"}},"pay":{{"rate":{{"amount":"60000","currency":"USD"}},"per":"year"}}"#
        ),
    )?;
    let facts: Facts = hire.references().into_iter().map(|r| (r, Standing::Open)).collect();
    let mut state = employee::State::default();
    state = state.decide(&hire, &facts)?.iter().fold(state, employee::State::evolve);
    for n in 0..19 {
        let change = command("ChangeCompensation", &raise(1986 + n, 60_001 + u32::from(n)))?;
        state = state.decide(&change, &Facts::none())?.iter().fold(state, employee::State::evolve);
    }

    let text = raise(2010, 99_999);
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(command("ChangeCompensation", black_box(&text))?);
    }
    println!("parse            {:?}", started.elapsed() / ROUNDS);

    let change = command("ChangeCompensation", &text)?;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let events = black_box(&state).decide(black_box(&change), &Facts::none())?;
        black_box(state.claims(&events));
    }
    println!("decide + claims  {:?}", started.elapsed() / ROUNDS);

    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(black_box(&state).clone());
    }
    println!("clone            {:?}", started.elapsed() / ROUNDS);

    let events = state.decide(&change, &Facts::none())?;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        // The same event again is replaced in place, so the state keeps its size.
        state = events.iter().fold(state, employee::State::evolve);
    }
    println!("evolve           {:?}", started.elapsed() / ROUNDS);
    Ok(())
}
