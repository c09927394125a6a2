//! Commands: what parses is decided without a panic, and what was decided folds and is decided again.
#![no_main]

use std::collections::HashMap;

use domain::{Command, Facts, State};
use events::{StreamName, TenantId, TenantScope};
use serde_json::value::RawValue;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let scope = TenantScope::checked(TenantId::PLATFORM);
    let mut states: HashMap<StreamName, State> = HashMap::new();
    // A name and its fields per line: a history, of which each command sees what came before.
    for (n, line) in text.lines().take(16).enumerate() {
        let Some((name, data)) = line.split_once(' ') else { continue };
        let Ok(data) = serde_json::from_str::<&RawValue>(data) else { continue };
        let Ok(mut command) = Command::parse(name, data) else { continue };
        command.fill_ids(format!("00000000-0000-4000-8000-{n:012x}").parse().expect("an id"));
        let of = |stream: StreamName| states.get(&stream).cloned().unwrap_or_else(|| State::empty(stream.category()));
        let state = of(command.stream(scope));
        let (mut open, mut facts) = (state.questions(&command).expect("its own state"), Facts::none());
        while let Some(question) = open.pop() {
            if !facts.answers(&question) {
                let fact = of(question.stream(scope)).answer(&question).expect("the state of its stream");
                open.extend(question.leads_to(&fact));
                facts.insert_fact(question, fact);
            }
        }
        let Ok(decided) = state.decide(&command, &facts).expect("its own state") else { continue };
        let announced = command.claims();
        assert!(decided.claims.iter().all(|claim| announced.iter().any(|known| known.covers(claim))), "{name} claims what it did not say");
        let after = decided.events.iter().fold(state, |state, event| state.evolve(event).expect("its own event"));
        states.insert(command.stream(scope), after);
    }
});
