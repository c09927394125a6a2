//! Each version of each event is pinned by a file under `golden/{category}/{Type}.v{version}.json`.
//!
//! A file is what the store may hold; it is read for ever and never edited. `GOLDEN=write cargo test -p events` writes
//! the files of types that have none yet.
#![allow(missing_docs)]

use std::{fs, path::PathBuf};

use events::{Event, KeyState, PersonKey, StreamName, TenantId, TenantScope};
use serde_json::value::RawValue;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn files() -> Vec<(events::Category, String, u16, String)> {
    let mut found = Vec::new();
    for category in events::Category::ALL {
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
        assert!(Event::decode_parts(events::Category::Employee, event_type, version, &data).is_err());
    }
}

#[test]
fn sealed_goldens_open_with_the_key_they_were_sealed_with() {
    let key = KeyState::Held(PersonKey::from_bytes([7; 32]));
    let scope = TenantScope::checked(TenantId::from_uuid(uuid::Uuid::from_u128(1)));
    let stream = StreamName::employee(scope, events::EmployeeId::from_uuid(uuid::Uuid::from_u128(2)));
    let mut sealed = 0;
    for (category, event_type, version, json) in files() {
        let mut event = Event::decode_parts(category, &event_type, version, &RawValue::from_string(json).unwrap()).unwrap();
        if event.has_personal() {
            event.open(stream, &key).unwrap_or_else(|e| panic!("{event_type}.v{version}: {e}"));
            assert!(event.to_data().is_err(), "an opened event must not serialize");
            sealed += 1;
        }
    }
    assert_eq!(sealed, 3);
}

mod samples;

#[test]
fn missing_files_can_be_written() {
    if std::env::var("GOLDEN").as_deref() != Ok("write") {
        return;
    }
    for event in samples::all() {
        let path = folder().join(event.0.name()).join(format!("{}.v{}.json", event.1.event_type(), event.1.schema_version()));
        if !path.exists() {
            let value: serde_json::Value = serde_json::from_str(event.1.to_data().unwrap().get()).unwrap();
            fs::write(path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        }
    }
}
