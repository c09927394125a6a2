//! Stored events: what decodes is written back as it was read, and folds. The input is a golden file behind its name, such
//! as `employee/EmployeeHired.v1`.
#![no_main]

use events::{Category, Event};
use serde_json::value::RawValue;

fn parse(text: &str) -> Option<(Category, &str, u16, &RawValue)> {
    let (name, data) = text.split_once('\n')?;
    let (category, name) = name.split_once('/')?;
    let (event_type, version) = name.split_once(".v")?;
    let category = category.parse().ok()?;
    Some((category, event_type, version.parse().ok()?, serde_json::from_str(data).ok()?))
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Some((category, event_type, version, data)) = parse(text) else { return };
    let Ok(event) = Event::decode_parts(category, event_type, version, data) else { return };
    let again = event.to_data().expect("what was read can be written");
    let back = Event::decode_parts(category, event.event_type(), event.schema_version(), &again).expect("what was written can be read");
    assert_eq!(event, back);
    drop(domain::State::empty(category).evolve(&event));
});
