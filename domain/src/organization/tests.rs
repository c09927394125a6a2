use events::{Effective, organization::UnitChange};
use jiff::{ToSpan, civil::date};
use proptest::prelude::*;

use super::*;
use crate::DuePlace;

/// A command from its name and fields. `#5` is the id with that number.
fn command(text: &str) -> Command {
    let (name, fields) = text.split_once(' ').expect("a name and fields");
    let mut json = format!("{{{fields}}}");
    for n in 0..10 {
        json = json.replace(&format!("#{n}\""), &format!("00000000-0000-0000-0000-00000000000{n}\""));
    }
    Command::parse(name, &json).expect("a known command").unwrap_or_else(|e| panic!("{e} at {:?}: {json}", e.field))
}

fn create(n: u8, day: &str, parent: Option<u8>) -> String {
    let parent = parent.map_or("null".to_owned(), |p| format!("\"#{p}\""));
    format!(r##"CreateDepartment "department_id":"#{n}","effective_on":"{day}","code":"d{n}","name":"D{n}","parent_id":{parent}"##)
}
fn move_to(n: u8, day: &str, parent: Option<u8>) -> String {
    let parent = parent.map_or("null".to_owned(), |p| format!("\"#{p}\""));
    format!(r##"MoveDepartment "department_id":"#{n}","effective_on":"{day}","parent_id":{parent}"##)
}
fn close(n: u8, day: &str) -> String {
    format!(r##"CloseDepartment "department_id":"#{n}","effective_on":"{day}""##)
}
fn rename(n: u8, day: &str, name: &str) -> String {
    format!(r##"RenameDepartment "department_id":"#{n}","effective_on":"{day}","name":"{name}""##)
}

fn given(commands: &[String]) -> State {
    commands.iter().fold(State::default(), |state, text| {
        let events = state.decide(&command(text), &Facts::none()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(!events.is_empty(), "{text} must do something");
        events.iter().fold(state, State::evolve)
    })
}

/// An event in short: its type, day and sequence.
fn show(event: &OrganizationEvent) -> String {
    let at = match event {
        OrganizationEvent::DepartmentCreated(e) => e.effective,
        OrganizationEvent::DepartmentRenamed(e) => e.effective,
        OrganizationEvent::DepartmentMoved(e) => e.effective,
        OrganizationEvent::DepartmentClosed(e) => e.effective,
        OrganizationEvent::LocationOpened(e) => e.effective,
        OrganizationEvent::LocationChanged(e) => e.effective,
        OrganizationEvent::LocationClosed(e) => e.effective,
        OrganizationEvent::JobCreated(e) => e.effective,
        OrganizationEvent::JobRetitled(e) => e.effective,
        OrganizationEvent::JobRetired(e) => e.effective,
        OrganizationEvent::UnitChangeTookEffect(e) => e.effective,
    };
    format!("{} {}/{}", event.event_type(), at.on, at.seq)
}

/// `expected`: the event in short, nothing, or the refusal's code and pointer.
#[track_caller]
fn check(given_commands: &[String], when: &str, expected: &str) {
    let state = given(given_commands);
    let when = command(when);
    let decided = state.decide(&when, &Facts::none());
    let outcome = match &decided {
        Ok(events) => events.iter().map(show).collect::<Vec<_>>().join(", "),
        Err(refusal) => format!("{} {}", refusal.code(), refusal.field().unwrap_or("-")),
    };
    assert_eq!(outcome, expected);
    if let Ok(events) = decided {
        let after = events.iter().fold(state, State::evolve);
        assert_eq!(after.decide(&when, &Facts::none()), Ok(Vec::new()), "a retry changes nothing");
    }
}

const D: &str = "2020-01-01";

#[test]
fn a_department_is_created_once_with_a_code_of_its_own() {
    check(&[], &create(1, D, None), "DepartmentCreated 2020-01-01/0");
    check(&[create(1, D, None)], &create(1, D, None), "");
    // The unit was changed since, so creating it again would change something.
    check(&[create(1, D, None), rename(1, D, "Other")], &create(1, D, None), "already_exists /department_id");
    check(&[create(1, D, None), rename(1, D, "Other"), rename(1, D, "D1")], &create(1, D, None), "");
    check(&[create(1, D, None), rename(1, "2020-02-01", "Other")], &create(1, D, None), "");
    check(&[create(1, D, None), close(1, "2020-02-01")], &create(1, D, None), "already_exists /department_id");
    check(&[create(1, D, None)], &create(1, "2020-01-02", None), "already_exists /department_id");
    check(&[create(1, D, None)], &create(2, D, None).replace("\"d2\"", "\"D1\""), "code_taken /code");
    check(&[create(1, D, None), close(1, "2020-02-01")], &create(2, "2021-01-01", None).replace("\"d2\"", "\"d1\""), "code_taken /code");
}

#[test]
fn changes_fall_between_opening_and_closing() {
    let org = [create(1, D, None), close(1, "2020-03-01")];
    check(&org, &rename(1, "2019-12-31", "X"), "before_opening /effective_on");
    check(&org, &rename(1, D, "X"), "DepartmentRenamed 2020-01-01/1");
    check(&org, &rename(1, "2020-02-29", "X"), "DepartmentRenamed 2020-02-29/0");
    check(&org, &rename(1, "2020-03-01", "X"), "after_closing /effective_on");
    check(&org, &rename(1, D, "D1"), "");
    check(&org, &rename(2, D, "X"), "not_found -");
    check(&org, &close(1, "2020-03-01"), "");
    check(&org, &close(1, "2020-04-01"), "already_closed /effective_on");
    check(&[create(1, D, None)], &close(1, D), "closes_before_opening /effective_on");
    check(&[create(1, D, None)], &close(1, "2020-01-02"), "DepartmentClosed 2020-01-02/0");
}

#[test]
fn a_parent_is_open_as_long_as_something_is_below_it() {
    let (feb, mar) = ("2020-02-01", "2020-03-01");
    check(&[], &create(2, D, Some(1)), "unknown_reference /parent_id");
    check(&[], &create(1, D, Some(1)), "department_cycle /parent_id");
    check(&[create(1, feb, None)], &create(2, D, Some(1)), "reference_not_open /parent_id");
    check(&[create(1, D, None)], &create(2, feb, Some(1)), "DepartmentCreated 2020-02-01/0");
    check(&[create(1, D, None), close(1, mar)], &create(2, feb, Some(1)), "reference_not_open /parent_id");
    let below = [create(1, D, None), create(2, feb, Some(1))];
    check(&below, &close(1, D), "closes_before_opening /effective_on");
    check(&below, &close(1, "2020-01-15"), "has_sub_departments -");
    check(&below, &close(1, mar), "has_sub_departments -");
    let moved = [below.as_slice(), &[move_to(2, mar, None)]].concat();
    check(&moved, &close(1, mar), "DepartmentClosed 2020-03-01/0");
    check(&moved, &close(1, "2020-02-29"), "has_sub_departments -");
    let closed = [below.as_slice(), &[close(2, mar)]].concat();
    check(&closed, &close(1, mar), "DepartmentClosed 2020-03-01/0");
    // A move for a while may end with the parent.
    let for_a_while = [create(1, D, None), create(2, D, None), move_to(2, mar, Some(3)), close(1, mar)];
    let for_a_while = [vec![create(3, D, None)], for_a_while.to_vec()].concat();
    check(&for_a_while, &move_to(2, feb, Some(1)), "DepartmentMoved 2020-02-01/0");
}

#[test]
fn the_tree_has_no_cycle_on_any_day() {
    let chain = [create(1, D, None), create(2, D, Some(1)), create(3, D, Some(2))];
    check(&chain, &move_to(1, "2020-02-01", Some(3)), "department_cycle /parent_id");
    check(&chain, &move_to(1, "2020-02-01", Some(1)), "department_cycle /parent_id");
    check(&chain, &move_to(3, "2020-02-01", None), "DepartmentMoved 2020-02-01/0");
    // From March on 3 stands alone, so 1 may go below it then; not before.
    let apart = [chain.as_slice(), &[move_to(3, "2020-03-01", None)]].concat();
    check(&apart, &move_to(1, "2020-03-01", Some(3)), "DepartmentMoved 2020-03-01/0");
    check(&apart, &move_to(1, "2020-02-01", Some(3)), "department_cycle /parent_id");
    // A move in the past that only later meets another one.
    let late = [create(1, D, None), create(2, D, None), move_to(2, "2020-06-01", Some(1))];
    check(&late, &move_to(1, "2020-02-01", Some(2)), "department_cycle /parent_id");

    check(&late, &move_to(1, "2020-07-01", Some(2)), "department_cycle /parent_id");
    let until_may =
        [create(3, D, None), create(1, D, None), create(2, D, None), move_to(1, "2020-05-01", Some(3)), move_to(2, "2020-06-01", Some(1))];
    check(&until_may, &move_to(1, "2020-02-01", Some(2)), "DepartmentMoved 2020-02-01/0");
}

#[test]
fn locations_and_jobs_open_change_and_close() {
    let open = r##"OpenLocation "location_id":"#1","effective_on":"2020-01-01","code":"vie","name":"Vienna","time_zone":"Europe/Vienna""##
        .to_owned();
    let change = r##"ChangeLocation "location_id":"#1","effective_on":"2020-02-01","name":"Wien""##;
    check(&[], &open, "LocationOpened 2020-01-01/0");
    check(std::slice::from_ref(&open), change, "LocationChanged 2020-02-01/0");
    let zone = change.replace("\"name\":\"Wien\"", "\"time_zone\":\"Europe/Vienna\"");
    check(std::slice::from_ref(&open), &zone, "LocationChanged 2020-02-01/0");
    check(std::slice::from_ref(&open), &zone.replace("02-01", "01-01"), "");
    check(std::slice::from_ref(&open), r##"CloseLocation "location_id":"#1","effective_on":"2020-02-01""##, "LocationClosed 2020-02-01/0");
    check(&[open], r##"CloseLocation "location_id":"#2","effective_on":"2020-02-01""##, "not_found -");

    let create = r##"CreateJob "job_id":"#1","effective_on":"2020-01-01","code":"eng","title":"Engineer""##.to_owned();
    check(&[], &create, "JobCreated 2020-01-01/0");
    check(std::slice::from_ref(&create), &create.replace("#1", "#2"), "code_taken /code");
    check(
        std::slice::from_ref(&create),
        r##"RetitleJob "job_id":"#1","effective_on":"2020-01-01","title":"Developer""##,
        "JobRetitled 2020-01-01/1",
    );
    check(&[create], r##"RetireJob "job_id":"#1","effective_on":"2020-02-01""##, "JobRetired 2020-02-01/0");
}

#[test]
fn what_others_refer_to_stands_from_its_first_day_to_its_last() {
    let state = given(&[create(1, D, None), close(1, "2020-03-01")]);
    let standing = |n: u128, on| {
        let department = DepartmentId::from_uuid(uuid::Uuid::from_u128(n));
        let Fact::DepartmentOn(standing) = state.answer(&Question::DepartmentOn(DepartmentOn { department, on })) else {
            panic!("another")
        };
        standing
    };
    assert_eq!(standing(1, date(2019, 12, 31)), Standing::NotThen);
    assert_eq!(standing(1, date(2020, 1, 1)), Standing::Open);
    assert_eq!(standing(1, date(2020, 2, 29)), Standing::Open);
    assert_eq!(standing(1, date(2020, 3, 1)), Standing::NotThen);
    assert_eq!(standing(2, date(2020, 1, 1)), Standing::Unknown);
    let job = JobOn { job: JobId::from_uuid(uuid::Uuid::from_u128(1)), on: date(2020, 1, 1) };
    assert_eq!(state.answer(&Question::JobOn(job)), Fact::JobOn(Standing::Unknown));
}

#[test]
fn a_location_has_a_time_zone_on_every_day() {
    let open = r##"OpenLocation "location_id":"#1","effective_on":"2020-01-01","code":"vie","name":"Vienna","time_zone":"Europe/Vienna""##;
    let to = |day: &str, zone: &str| format!(r##"ChangeLocation "location_id":"#1","effective_on":"{day}","time_zone":"{zone}""##);
    let renamed = r##"ChangeLocation "location_id":"#1","effective_on":"2020-02-15","name":"Elsewhere""##;
    let close = r##"CloseLocation "location_id":"#1","effective_on":"2020-04-01""##;
    let commands =
        [open, &to("2020-01-01", "Asia/Tokyo"), &to("2020-02-01", "America/Lima"), renamed, &to("2020-05-01", "Asia/Tokyo"), close];
    let state = given(&commands.map(str::to_owned));
    let zone = |n: u128, on: Date| {
        let location = LocationId::from_uuid(uuid::Uuid::from_u128(n));
        let Fact::TimeZoneOn(zone) = state.answer(&Question::TimeZoneOn(TimeZoneOn { location, on })) else { panic!("another") };
        zone
    };
    for (on, expected) in [
        (date(2019, 12, 31), "Asia/Tokyo"),
        (date(2020, 1, 1), "Asia/Tokyo"),
        (date(2020, 1, 31), "Asia/Tokyo"),
        (date(2020, 2, 1), "America/Lima"),
        (date(2020, 3, 1), "America/Lima"),
        // Closed: what was to come after that never was.
        (date(2020, 4, 1), "America/Lima"),
        (date(2020, 6, 1), "America/Lima"),
    ] {
        assert_eq!(zone(1, on).as_deref(), Some(expected), "{on}");
    }
    assert_eq!(zone(2, date(2020, 1, 1)), None);
}

fn any_command() -> impl Strategy<Value = String> {
    let on = (0..20_i32).prop_map(|n| date(2020, 1, 1).checked_add(n.days()).unwrap().to_string());
    let parent = prop::option::weighted(0.8, 1..7_u8);
    prop_oneof![
        3 => (1..7_u8, on.clone(), parent.clone()).prop_map(|(n, on, p)| create(n, &on, p)),
        6 => (1..7_u8, on.clone(), parent).prop_map(|(n, on, p)| move_to(n, &on, p)),
        1 => (1..7_u8, on.clone()).prop_map(|(n, on)| close(n, &on)),
        1 => (1..7_u8, on, 0..3_u8).prop_map(|(n, on, name)| rename(n, &on, &format!("N{name}"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn on_every_day_the_open_departments_form_a_forest(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut state = (1..4).fold(State::default(), |state, n| {
            let events = state.decide(&command(&create(n, D, None)), &Facts::none()).expect("creates");
            events.iter().fold(state, State::evolve)
        });
        for text in commands {
            let command = command(&text);
            let Ok(events) = state.decide(&command, &Facts::none()) else { continue };
            state = events.iter().fold(state, State::evolve);
            prop_assert_eq!(state.decide(&command, &Facts::none()), Ok(Vec::new()), "a retry changes nothing");
        }
        for on in (-2..25_i32).map(|n| date(2020, 1, 1).checked_add(n.days()).unwrap()) {
            for (id, department) in state.departments.iter().filter(|(_, d)| d.is_open_on(on)) {
                let (mut above, mut steps) = (department.parent_on(on), 0);
                while let Some(parent) = above {
                    let parent = state.departments.get(parent).expect("exists");
                    prop_assert!(parent.is_open_on(on), "a department above {:?} is not open on {}", id, on);
                    above = parent.parent_on(on);
                    steps += 1;
                    prop_assert!(steps <= state.departments.len(), "cycle above {:?} on {}", id, on);
                }
            }
        }
    }
}

/// What is announced in the end of what a command does: where its day must have begun, what took effect, and the event in short; or
/// that it is not announced.
#[track_caller]
fn announces(given_commands: &[String], when: &str, later: &[String], expected: &str) {
    let before = given(given_commands);
    let events = before.decide(&command(when), &Facts::none()).unwrap();
    let due: Vec<_> = events.iter().flat_map(due).collect();
    let [due] = due.as_slice() else { panic!("{due:?}") };
    let state = given(&[given_commands, &[when.to_owned()], later].concat());
    assert_eq!(due.kept(), due.command, "it is kept as it is");
    let crate::Command::Organization(announce) = due.kept() else { panic!("{due:?}") };
    let announced = state.decide(&announce, &Facts::none()).unwrap();
    let place = match due.place {
        DuePlace::Tenant => "tenant",
        DuePlace::Location(location) => {
            assert_eq!(location.to_string(), announce.object_id(), "its own");
            "location"
        }
        DuePlace::Person(_) => "person",
    };
    let show = |event: &OrganizationEvent| {
        let OrganizationEvent::UnitChangeTookEffect(e) = event else { panic!("{event:?}") };
        assert_eq!((e.effective.on, e.unit.uuid().to_string()), (due.on, announce.object_id()));
        format!("{place} {:?} {}", e.what, show(event))
    };
    assert_eq!(announced.iter().map(show).collect::<Vec<_>>().join(", "), expected);
    assert!(announced.iter().flat_map(super::due).next().is_none(), "an announcement makes nothing due");
    assert_eq!(announced.iter().fold(state.clone(), State::evolve), state, "an announcement changes nothing");
}

#[test]
fn what_lies_ahead_is_announced_if_it_is_still_so() {
    let (feb, mar, apr) = ("2020-02-01", "2020-03-01", "2020-04-01");
    let one = [create(1, D, None), create(2, D, None)];
    announces(&[], &create(1, D, None), &[], "tenant Opened UnitChangeTookEffect 2020-01-01/0");
    announces(&[], &create(1, D, None), &[close(1, feb)], "tenant Opened UnitChangeTookEffect 2020-01-01/0");
    announces(&one, &rename(1, mar, "New"), &[], "tenant Changed UnitChangeTookEffect 2020-03-01/0");
    announces(&one, &rename(1, D, "New"), &[], "tenant Changed UnitChangeTookEffect 2020-01-01/1");
    announces(&one, &move_to(1, mar, Some(2)), &[close(1, apr)], "tenant Moved UnitChangeTookEffect 2020-03-01/0");
    announces(&one, &close(1, mar), &[], "tenant Closed UnitChangeTookEffect 2020-03-01/0");
    // A closing on that day or before it overtakes the change.
    for closed in [feb, mar] {
        announces(&one, &rename(1, mar, "New"), &[close(1, closed)], "");
        announces(&one, &move_to(1, mar, Some(2)), &[close(1, closed)], "");
    }

    let open = r##"OpenLocation "location_id":"#1","effective_on":"2020-01-01","code":"vie","name":"Vienna","time_zone":"Europe/Vienna""##;
    let change = r##"ChangeLocation "location_id":"#1","effective_on":"2020-03-01","name":"Wien""##;
    let close_location = r##"CloseLocation "location_id":"#1","effective_on":"2020-03-01""##;
    announces(&[], open, &[], "location Opened UnitChangeTookEffect 2020-01-01/0");
    announces(&[open.into()], change, &[], "location Changed UnitChangeTookEffect 2020-03-01/0");
    announces(&[open.into()], change, &[close_location.into()], "");
    announces(&[open.into()], close_location, &[], "location Closed UnitChangeTookEffect 2020-03-01/0");

    let create_job = r##"CreateJob "job_id":"#1","effective_on":"2020-01-01","code":"eng","title":"Engineer""##;
    let retitle = r##"RetitleJob "job_id":"#1","effective_on":"2020-03-01","title":"Developer""##;
    let retire = r##"RetireJob "job_id":"#1","effective_on":"2020-03-01""##;
    announces(&[], create_job, &[], "tenant Opened UnitChangeTookEffect 2020-01-01/0");
    announces(&[create_job.into()], retitle, &[], "tenant Changed UnitChangeTookEffect 2020-03-01/0");
    announces(&[create_job.into()], retitle, &[retire.into()], "");
    announces(&[create_job.into()], retire, &[], "tenant Closed UnitChangeTookEffect 2020-03-01/0");
}

#[test]
fn nothing_is_announced_of_what_is_not_there() {
    let effective = Effective { on: date(2020, 1, 1), seq: 0 };
    let id = uuid::Uuid::from_u128(1);
    let (department, location, job) = (DepartmentId::from_uuid(id), LocationId::from_uuid(id), JobId::from_uuid(id));
    let units = [UnitId::Department(department), UnitId::Location(location), UnitId::Job(job)];
    for (unit, what) in units.into_iter().zip([UnitChange::Opened, UnitChange::Changed, UnitChange::Closed]) {
        let announce = AnnounceUnitChange { unit, what, effective }.into();
        assert_eq!(State::default().decide(&announce, &Facts::none()), Ok(Vec::new()));
    }
}
