//! Old schema versions, lifted step by step to the newest. A step is a pure function on JSON, named by (type, version).
//!
//! Adding one: raise the version in the capability's `events!` list, add the step below, and add the old shape's
//! golden file to `golden/`. Old golden files are never edited.

use serde_json::{Value, value::RawValue};

/// Lifts `data` from `from` to `to`; none where no chain of steps leads there.
pub(crate) fn upcast(event_type: &str, from: u16, to: u16, data: &RawValue) -> Option<Result<Value, serde_json::Error>> {
    if from == 0 || from >= to {
        return None;
    }
    let steps = (from..to).map(|version| step(event_type, version)).collect::<Option<Vec<_>>>()?;
    Some(serde_json::from_str(data.get()).map(|mut value| {
        for step in steps {
            step(&mut value);
        }
        value
    }))
}

fn step(event_type: &str, version: u16) -> Option<fn(&mut Value)> {
    match (event_type, version) {
        ("CompensationChanged", 1) => Some(compensation_changed_1),
        _ => None,
    }
}

/// Version 1 knew annual pay only and gave no reason: `annual_pay` became `rate` with `per` and `reason`.
fn compensation_changed_1(data: &mut Value) {
    if let Some(object) = data.as_object_mut()
        && let Some(pay) = object.remove("annual_pay")
    {
        object.insert("pay".into(), serde_json::json!({ "rate": pay, "per": "year" }));
        object.insert("reason".into(), "unspecified".into());
    }
}
