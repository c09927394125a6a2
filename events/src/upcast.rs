//! Old schema versions, lifted step by step to the newest. A step is a pure function on JSON, in the module of its event.
//!
//! Adding one: raise the version in the capability's `events!` list, append the step to the event's `upcast`, and add the old
//! shape's golden file to `golden/`. Old golden files are never edited.

use serde_json::{Value, value::RawValue};

/// Lifts the data of one version to the next.
pub(crate) type Step = fn(&mut Value);

/// Lifts `data` from version `from` to the newest; `steps` are those of the event, from version 1 on. None where there is no
/// such version.
pub(crate) fn upcast(steps: &[Step], from: u16, data: &RawValue) -> Option<Result<Value, serde_json::Error>> {
    let first = usize::from(from.checked_sub(1)?);
    let steps = steps.get(first..).filter(|steps| !steps.is_empty())?;
    Some(serde_json::from_str(data.get()).map(|mut value| {
        for step in steps {
            step(&mut value);
        }
        value
    }))
}
