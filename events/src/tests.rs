//! Each version of each event is pinned by a file under `golden/{category}/{Type}.v{version}.json`.
//!
//! A file is what the store may hold; it is read for ever and never edited. `GOLDEN=write cargo test -p events` writes
//! the files of types that have none yet, from the `samples` that stand beside each kind's events.

use std::{fs, path::PathBuf};

use crate::{Category, Event, KeyState, PersonKey, StreamName, TenantId, TenantScope, kinds};
use serde_json::value::RawValue;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn files() -> Vec<(Category, String, u16, String)> {
    let mut found = Vec::new();
    for category in Category::ALL {
        for entry in fs::read_dir(folder().join(category.name())).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let (event_type, version) = stem.rsplit_once(".v").unwrap();
            found.push((category, event_type.to_owned(), version.parse().unwrap(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn every_version_of_every_type_has_a_file() {
    let files = files();
    for (category, event_type, newest) in Event::types() {
        for version in 1..=newest {
            assert!(
                files.iter().any(|(c, t, v, _)| (*c, t.as_str(), *v) == (category, event_type, version)),
                "golden/{category}/{event_type}.v{version}.json is missing"
            );
        }
    }
    assert_eq!(
        files.len(),
        Event::types().map(|(_, _, newest)| usize::from(newest)).sum::<usize>(),
        "a golden file names no known type or version"
    );
}

#[test]
fn every_file_decodes_and_the_newest_encodes_to_itself() {
    for (category, event_type, version, json) in files() {
        let raw = RawValue::from_string(json.clone()).unwrap();
        let event = Event::decode_parts(category, &event_type, version, &raw).unwrap_or_else(|e| panic!("{e}"));
        if version == event.schema_version() {
            let again: serde_json::Value = serde_json::from_str(event.to_data().unwrap().get()).unwrap();
            assert_eq!(again, serde_json::from_str::<serde_json::Value>(&json).unwrap(), "{event_type}.v{version}");
        }
    }
}

#[test]
fn an_old_compensation_change_reads_as_a_new_one() {
    let read = |version| {
        let (category, event_type, version, json) =
            files().into_iter().find(|(_, t, v, _)| t == "CompensationChanged" && *v == version).unwrap();
        Event::decode_parts(category, &event_type, version, &RawValue::from_string(json).unwrap()).unwrap()
    };
    // The two files tell the same fact in the two shapes.
    assert_eq!(read(1), read(2));
}

#[test]
fn unknown_types_and_versions_are_refused() {
    let data = RawValue::from_string("{}".into()).unwrap();
    for (event_type, version) in [("EmployeePromoted", 1), ("CompensationChanged", 3), ("CompensationChanged", 0), ("DepartmentCreated", 1)]
    {
        assert!(Event::decode_parts(Category::Employee, event_type, version, &data).is_err());
    }
}

/// The stream that golden files of a category stand in.
fn stream(category: Category) -> StreamName {
    StreamName::of_tenant(TenantScope::checked(TenantId::from_uuid(uuid::Uuid::from_u128(1))), category, uuid::Uuid::from_u128(2))
}

macro_rules! samples {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// One event of every type.
        fn samples() -> Vec<Event> {
            let mut all: Vec<Event> = Vec::new();
            $(all.extend(crate::$($module)::+::samples().into_iter().map(Event::from));)+
            all
        }
    };
}
kinds!(samples);

#[test]
fn every_type_has_a_sample() {
    let sampled: Vec<_> = samples().iter().map(|event| (event.category(), event.event_type(), event.schema_version())).collect();
    assert_eq!(sampled, Event::types().collect::<Vec<_>>());
}

#[test]
fn sealed_goldens_open_with_the_key_they_were_sealed_with() {
    let key = KeyState::Held(PersonKey::from_bytes([7; 32]));
    let mut sealed = Vec::new();
    for (category, event_type, version, json) in files() {
        let mut event = Event::decode_parts(category, &event_type, version, &RawValue::from_string(json).unwrap()).unwrap();
        if event.has_personal() {
            event.open(stream(category), |_| &key).unwrap_or_else(|e| panic!("{event_type}.v{version}: {e}"));
            assert!(event.to_data().is_err(), "an opened event must not serialize");
            sealed.push(event.event_type());
        }
    }
    for event in samples().iter().filter(|event| event.has_personal()) {
        assert!(sealed.contains(&event.event_type()), "no file of {} holds a sealed field", event.event_type());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer says so; no rule depends on it")]
fn missing_files_can_be_written() {
    if std::env::var("GOLDEN").as_deref() != Ok("write") {
        return;
    }
    let key = PersonKey::from_bytes([7; 32]);
    for mut event in samples() {
        let folder = folder().join(event.category().name());
        let path = folder.join(format!("{}.v{}.json", event.event_type(), event.schema_version()));
        if !path.exists() {
            event.seal(stream(event.category()), |_| Some(&key)).unwrap();
            let value: serde_json::Value = serde_json::from_str(event.to_data().unwrap().get()).unwrap();
            fs::create_dir_all(folder).unwrap();
            fs::write(path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        }
    }
}
