//! Commands: what parses is decided without a panic, and what was decided folds and is decided again.
#![no_main]

use domain::{Command, Facts, Standing, employee, organization};
use serde_json::value::RawValue;

libfuzzer_sys::fuzz_target!(|text: &str| {
    // A name and its fields per line: a history.
    let (mut person, mut company) = (employee::State::default(), organization::State::default());
    for line in text.lines().take(16) {
        let Some((name, data)) = line.split_once(' ') else { continue };
        let Ok(data) = serde_json::from_str::<&RawValue>(data) else { continue };
        match Command::parse(name, data) {
            Ok(Command::Employee(command)) => {
                let facts: Facts = command.references().into_iter().map(|reference| (reference, Standing::Open)).collect();
                let Ok(events) = person.decide(&command, &facts) else { continue };
                drop(person.claims(&events));
                person = events.iter().fold(person, employee::State::evolve);
            }
            Ok(Command::Organization(command)) => {
                let Ok(events) = company.decide(&command) else { continue };
                company = events.iter().fold(company, organization::State::evolve);
            }
            Ok(Command::Tenancy(command)) => drop(domain::tenancy::State::default().decide(&command)),
            Err(_) => {}
        }
    }
});
