use jiff::ToSpan;
use proptest::prelude::*;

use super::*;
use crate::{
    ClaimOp,
    command::from_json,
    organization::{DepartmentOn, JobOn, LocationOn},
};

/// A command from its name and fields, about person 1. `#5` is the id with that number.
fn command(text: &str) -> Command {
    let (name, fields) = text.split_once(' ').expect("a name and fields");
    let mut json = format!("{{\"employee_id\":\"#1\",{fields}}}");
    for n in 0..10 {
        json = json.replace(&format!("#{n}\""), &format!("00000000-0000-0000-0000-00000000000{n}\""));
    }
    Command::parse(name, &json).expect("a known command").unwrap_or_else(|e| panic!("{e} at {:?}: {json}", e.field))
}

const HIRE: &str = r##"HireEmployee "hire_date":"2020-01-01","employee_number":"17","person":{"given_name":"Ada","family_name":"Lovelace","birth_date":"1990-05-05"},
    "contact":{"work_email":"ada@example.com"},"assignment":{"department_id":"#2","job_id":"#3","location_id":"#4","manager_id":"#5"},
    "pay":{"rate":{"amount":"50000","currency":"EUR"},"per":"year"}"##;
const LEAVE: &str = r#"TerminateEmployee "last_day_worked":"2020-06-30","reason":"resignation""#;
const REHIRE: &str = r##"RehireEmployee "hire_date":"2021-01-01","assignment":{"department_id":"#2","job_id":"#3"}"##;

/// Facts under which everything stands like this that a command refers to, but for one reference.
fn facts(state: &State, command: &Command, all: Standing, but: Option<(Reference, Standing)>) -> Facts {
    let mut facts = Facts::none();
    for reference in command.references() {
        let standing = but.filter(|(other, _)| *other == reference).map_or(all, |(_, standing)| standing);
        let on = reference.on;
        match reference.to {
            Referent::Department(department) => facts.insert(DepartmentOn { department, on }, standing),
            Referent::Job(job) => facts.insert(JobOn { job, on }, standing),
            Referent::Location(location) => facts.insert(LocationOn { location, on }, standing),
            Referent::Manager(employee) => facts.insert(Employed { employee, on }, standing),
        }
        // The manager reports to nobody.
        if let Some(above) = state.above(command, reference) {
            facts.insert(above, Vec::new());
        }
    }
    facts
}

fn open(state: &State, command: &Command) -> Facts {
    facts(state, command, Standing::Open, None)
}

fn given(commands: &[&str]) -> State {
    commands.iter().fold(State::default(), |state, text| {
        let command = command(text);
        let events = state.decide(&command, &open(&state, &command)).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(!events.is_empty(), "{text} must do something");
        events.iter().fold(state, State::evolve)
    })
}

/// An event in short: its type, day and sequence.
fn show(event: &EmployeeEvent) -> String {
    let at = match event {
        EmployeeEvent::EmployeeHired(e) => e.effective,
        EmployeeEvent::EmployeeRehired(e) => e.effective,
        EmployeeEvent::AssignmentChanged(e) => e.effective,
        EmployeeEvent::CompensationChanged(e) => e.effective,
        EmployeeEvent::PersonalDetailsChanged(e) => e.effective,
        EmployeeEvent::ContactDetailsChanged(e) => e.effective,
        EmployeeEvent::EmployeeTerminated(e) => Effective { on: e.last_day_worked, seq: 0 },
        EmployeeEvent::EmploymentStarted(e) => Effective { on: e.on, seq: 0 },
        EmployeeEvent::EmploymentEnded(e) => Effective { on: e.last_day_worked, seq: 0 },
        EmployeeEvent::ChangeTookEffect(e) => e.effective,
    };
    format!("{} {}/{}", event.event_type(), at.on, at.seq)
}

/// `expected`: the event in short, nothing, or the refusal's code and pointer.
#[track_caller]
fn check(given_commands: &[&str], when: &str, expected: &str) {
    let state = given(given_commands);
    let when = command(when);
    let facts = open(&state, &when);
    let decided = state.decide(&when, &facts);
    let outcome = match &decided {
        Ok(events) => events.iter().map(show).collect::<Vec<_>>().join(", "),
        Err(refusal) => format!("{} {}", refusal.code(), refusal.field().unwrap_or("-")),
    };
    assert_eq!(outcome, expected);
    if let Ok(events) = decided {
        let after = events.iter().fold(state, State::evolve);
        assert_eq!(after.decide(&when, &facts), Ok(Vec::new()), "a retry changes nothing");
    }
}

#[test]
fn a_person_is_hired_once() {
    check(&[], HIRE, "EmployeeHired 2020-01-01/0");
    check(&[HIRE], HIRE, "");
    check(&[HIRE, LEAVE], HIRE, "already_hired /employee_id");
    check(&[HIRE, LEAVE, REHIRE], HIRE, "already_hired /employee_id");
    for (what, other) in
        [("\"17\"", "\"18\""), ("Ada", "Eva"), ("ada@", "eva@"), ("2020-01-01", "2020-01-02"), ("50000", "1"), ("#5", "#6")]
    {
        check(&[HIRE], &HIRE.replace(what, other), "already_hired /employee_id");
    }
    // What a change of a later day says, the hire does not.
    let named = |day: &str, name: &str| format!(r#"ChangePersonalDetails "effective_on":"{day}","changes":{{"given_name":"{name}"}}"#);
    check(&[HIRE, &named("2020-01-02", "Eva")], HIRE, "");
    check(&[HIRE, &named("2020-01-01", "Eva")], HIRE, "already_hired /employee_id");
    check(&[HIRE, &named("2020-01-01", "Eva"), &named("2020-01-01", "Ada")], HIRE, "");
    for text in [LEAVE, REHIRE, r#"ChangeContactDetails "effective_on":"2020-01-01","changes":{}"#] {
        check(&[], text, "not_found -");
    }
}

#[test]
fn dates_of_a_hire_are_in_order() {
    let original = |day: &str| HIRE.replace("\"employee_number\"", &format!("\"original_hire_date\":\"{day}\",\"employee_number\""));
    check(&[], &original("2019-01-01"), "EmployeeHired 2020-01-01/0");
    check(&[], &original("2020-01-02"), "original_hire_date_after_hire /original_hire_date");
    check(&[&original("2020-01-01")], HIRE, "");
    check(&[], &HIRE.replace("1990-05-05", "2020-01-01"), "birth_date_not_before_hire /person/birth_date");
    check(&[], &original("2019-01-01").replace("1990-05-05", "2019-01-01"), "birth_date_not_before_hire /person/birth_date");
    let born = |day: &str| format!(r#"ChangePersonalDetails "effective_on":"2020-01-01","changes":{{"birth_date":"{day}"}}"#);
    check(&[HIRE], &born("2020-01-01"), "birth_date_not_before_hire /changes/birth_date");
    check(&[HIRE], &born("1991-01-01"), "PersonalDetailsChanged 2020-01-01/1");
}

#[test]
fn references_must_stand_on_the_day() {
    let move_to = command(
        r##"ChangeAssignment "effective_on":"2020-02-01","changes":{"department_id":"#6","job_id":"#7","location_id":"#8","manager_id":"#9"},"reason":"r""##,
    );
    for (state, command, prefix) in [(given(&[]), command(HIRE), "/assignment"), (given(&[HIRE]), move_to, "/changes")] {
        let references = command.references();
        let pointers: Vec<_> = references.iter().map(|r| r.pointer.strip_prefix(prefix).unwrap()).collect();
        assert_eq!(pointers, ["/department_id", "/job_id", "/location_id", "/manager_id"]);
        for at_fault in &references {
            let answer = |standing| facts(&state, &command, Standing::Open, Some((*at_fault, standing)));
            assert_eq!(state.decide(&command, &answer(Standing::Unknown)), Err(Refusal::UnknownReference(at_fault.pointer)));
            let not_open = Refusal::ReferenceNotOpen { pointer: at_fault.pointer, on: at_fault.on };
            assert_eq!(state.decide(&command, &answer(Standing::NotThen)), Err(not_open));
        }
        assert_eq!(
            state.decide(&command, &Facts::none()),
            Err(Refusal::UnknownReference(references[0].pointer)),
            "not looked up is unknown"
        );
    }
    check(&[], &HIRE.replace("#5", "#1"), "own_manager /assignment/manager_id");
    check(
        &[HIRE],
        r##"ChangeAssignment "effective_on":"2020-02-01","changes":{"manager_id":"#1"},"reason":"r""##,
        "own_manager /changes/manager_id",
    );
}

/// From when until when somebody reports to whom.
type Reports = (&'static str, Option<&'static str>, u8);

/// The chain above the manager whom person 1 gets on 2020-02-01.
#[track_caller]
fn check_ring(chain: &[(u8, &[Reports])], expected: Result<usize, Refusal>) {
    let state = given(&[HIRE]);
    let command = command(r##"ChangeAssignment "effective_on":"2020-02-01","changes":{"manager_id":"#2"},"reason":"r""##);
    let id = |n: u8| EmployeeId::from_uuid(uuid::Uuid::from_u128(n.into()));
    let mut facts = open(&state, &command);
    let mut asked: Vec<_> = state.questions(&command).into_iter().filter(crate::Question::must_be_newest).collect();
    let mut seen = BTreeSet::new();
    while let Some(question) = asked.pop() {
        if !seen.insert(question) {
            continue;
        }
        let crate::Question::Employee(Question::ManagersOf(q)) = question else { panic!("of managers: {question:?}") };
        let Some((_, spans)) = chain.iter().find(|(n, _)| id(*n) == q.employee) else { continue };
        let spans = spans.iter().map(|(from, until, to)| (from.parse().unwrap(), until.map(|day| day.parse().unwrap()), id(*to)));
        let fact = crate::Fact::Employee(Fact::ManagersOf(spans.collect()));
        asked.extend(question.leads_to(&fact));
        facts.insert_fact(question, fact);
    }
    assert_eq!(state.decide(&command, &facts).map(|events| events.len()), expected);
}

#[test]
fn nobody_comes_to_stand_above_themselves() {
    let ring = Err(Refusal::ManagerCycle("/changes/manager_id"));
    check_ring(&[(2, &[])], Ok(1));
    check_ring(&[(2, &[("2020-02-01", None, 1)])], ring);
    check_ring(&[(2, &[("2020-02-01", None, 3)]), (3, &[("2020-03-01", None, 1)])], ring);
    check_ring(&[(2, &[("2020-02-01", None, 3)]), (3, &[("2020-02-01", None, 4)]), (4, &[])], Ok(1));
    // A ring above that has nothing to do with the person ends, and what was not looked up is refused.
    check_ring(&[(2, &[("2020-02-01", None, 3)]), (3, &[("2020-02-01", None, 3)])], Ok(1));
    check_ring(&[(2, &[("2020-02-01", None, 3)])], ring);
}

fn transfer(day: &str, to: &str) -> String {
    format!(r##"ChangeAssignment "effective_on":"{day}","changes":{{"department_id":"#{to}"}},"reason":"transfer""##)
}
fn raise(day: &str, amount: &str) -> String {
    format!(
        r#"ChangeCompensation "effective_on":"{day}","pay":{{"rate":{{"amount":"{amount}","currency":"EUR"}},"per":"year"}},"reason":"review""#
    )
}

#[test]
fn changes_fall_on_an_employed_day() {
    for (day, expected) in [
        ("2019-12-31", None),
        ("2020-01-01", Some("2020-01-01/1")),
        ("2020-06-30", Some("2020-06-30/0")),
        ("2020-07-01", None),
        ("2020-12-31", None),
        ("2021-01-01", Some("2021-01-01/1")),
        ("2199-01-01", Some("2199-01-01/0")),
    ] {
        let expect = |kind: &str| expected.map_or("not_employed_on_date /effective_on".to_owned(), |at| format!("{kind} {at}"));
        check(&[HIRE, LEAVE, REHIRE], &transfer(day, "6"), &expect("AssignmentChanged"));
        // The second employment has no pay yet, so its first day's sequence is free.
        let first = if day == "2021-01-01" { "CompensationChanged 2021-01-01/0".to_owned() } else { expect("CompensationChanged") };
        check(&[HIRE, LEAVE, REHIRE], &raise(day, "60000"), &first);
    }
}

#[test]
fn a_change_that_its_day_says_already_is_nothing() {
    check(&[HIRE, &transfer("2020-02-01", "6")], &transfer("2020-02-01", "6"), "");
    check(&[HIRE, &transfer("2020-02-01", "6")], &transfer("2020-02-01", "2"), "AssignmentChanged 2020-02-01/1");
    check(&[HIRE, &transfer("2020-02-01", "6")], &transfer("2020-01-15", "6"), "AssignmentChanged 2020-01-15/0");
    check(&[HIRE, &raise("2020-02-01", "50000")], &raise("2020-02-01", "50000.00"), "");
    check(&[HIRE], &raise("2020-02-01", "50000.01"), "CompensationChanged 2020-02-01/0");
    let again = r#"ChangeContactDetails "effective_on":"2020-01-01","changes":{"phone":null,"work_email":"ADA@example.com"}"#;
    check(&[HIRE], again, "");
    check(&[HIRE], r#"ChangeContactDetails "effective_on":"2020-02-01","changes":{}"#, "");
    check(&[HIRE], r#"ChangePersonalDetails "effective_on":"2019-12-31","changes":{"given_name":"Eva"}"#, "before_hire /effective_on");
}

#[test]
fn another_reason_is_a_change() {
    let (moved, raised) = (transfer("2020-02-01", "6"), raise("2020-02-01", "60000"));
    check(&[HIRE, &moved], &moved.replace("transfer", "mistake"), "AssignmentChanged 2020-02-01/1");
    check(&[HIRE, &raised], &raised.replace("review", "promotion"), "CompensationChanged 2020-02-01/1");
    // A hire has no reason.
    check(&[HIRE], &transfer("2020-01-01", "2"), "AssignmentChanged 2020-01-01/1");
    check(&[HIRE], &raise("2020-01-01", "50000.00"), "CompensationChanged 2020-01-01/1");
    // The reason that stands is that of the day's last change.
    let again = moved.replace("transfer", "mistake");
    check(&[HIRE, &moved, &again], &moved, "AssignmentChanged 2020-02-01/2");
    check(&[HIRE, &moved, &again], &again, "");
    // What says nothing of anything needs no reason.
    check(&[HIRE, &moved], r#"ChangeAssignment "effective_on":"2020-02-01","changes":{},"reason":"other""#, "");
}

#[test]
fn what_was_said_of_an_employment_that_is_over_can_be_said_again() {
    let never = LEAVE.replace("2020-06-30", "2019-12-31");
    let again = REHIRE.replace("2021-01-01", "2020-01-01");
    check(&[HIRE, &never, &again], &never, "EmployeeTerminated 2019-12-31/0");
    check(&[HIRE, &never, &again, &never], &never, "");
    check(&[HIRE, &never, &again, &never], &again, "EmployeeRehired 2020-01-01/0");
    check(&[HIRE, &never], HIRE, "already_hired /employee_id");
    check(&[HIRE, LEAVE, REHIRE, &LEAVE.replace("2020-06-30", "2021-03-31")], REHIRE, "rehire_before_end /hire_date");
    check(&[HIRE, LEAVE, REHIRE, &raise("2021-01-01", "1")], REHIRE, "still_employed -");
    check(&[HIRE, LEAVE, REHIRE, &transfer("2021-01-01", "6")], REHIRE, "still_employed -");
    check(&[HIRE, LEAVE, REHIRE, &transfer("2021-02-01", "6")], REHIRE, "");
}

#[test]
fn what_holds_already_can_be_said_of_a_later_day_and_then_stands_there() {
    check(&[HIRE], &transfer("2020-02-01", "2"), "AssignmentChanged 2020-02-01/0");
    check(&[HIRE, &transfer("2020-02-01", "6")], &transfer("2020-03-01", "6"), "AssignmentChanged 2020-03-01/0");
    check(&[HIRE], &raise("2020-02-01", "50000.00"), "CompensationChanged 2020-02-01/0");
    let moved = [HIRE, &transfer("2020-02-01", "6")];
    let job = |day: &str| format!(r##"ChangeAssignment "effective_on":"{day}","changes":{{"job_id":"#3"}},"reason":"r""##);
    check(&moved, &job("2020-02-01"), "AssignmentChanged 2020-02-01/1");
    // No raise in March; then somebody hears of one in February.
    let state = given(&[HIRE, &raise("2020-03-01", "50000"), &raise("2020-02-01", "55000")]);
    let State::Known(person) = state else { panic!("known") };
    let amount = |on: Date| person.employments[0].pay.on(None, on).flatten().map(|pay| pay.rate.amount().to_string());
    assert_eq!([day(20), day(40), day(70)].map(amount), ["50000", "55000", "50000"].map(|a| Some(a.to_owned())));
}

#[test]
fn an_employment_ends_once() {
    let leave = |day: &str| LEAVE.replace("2020-06-30", day);
    check(&[HIRE], LEAVE, "EmployeeTerminated 2020-06-30/0");
    check(&[HIRE], &leave("2020-01-01"), "EmployeeTerminated 2020-01-01/0");
    check(&[HIRE], &leave("2019-12-30"), "termination_before_hire /last_day_worked");
    check(&[HIRE, LEAVE], LEAVE, "");
    check(&[HIRE, LEAVE], &leave("2020-07-01"), "already_terminated /last_day_worked");
    check(&[HIRE, LEAVE], &LEAVE.replace("resignation", "dismissal"), "already_terminated /last_day_worked");
    check(&[HIRE, LEAVE, REHIRE], LEAVE, "termination_before_hire /last_day_worked");
    check(&[HIRE, LEAVE, REHIRE], &leave("2020-07-01"), "termination_before_hire /last_day_worked");
    check(&[HIRE, LEAVE, REHIRE], &leave("2021-07-01"), "EmployeeTerminated 2021-07-01/0");
}

#[test]
fn a_person_who_never_started_is_never_employed() {
    let never = LEAVE.replace("2020-06-30", "2019-12-31");
    check(&[HIRE], &never, "EmployeeTerminated 2019-12-31/0");
    check(&[HIRE, &never], &transfer("2020-01-01", "6"), "not_employed_on_date /effective_on");
    check(&[HIRE, &never], &REHIRE.replace("2021-01-01", "2020-01-01"), "EmployeeRehired 2020-01-01/0");
    let state = given(&[HIRE, &never]);
    for day in ["2019-12-31", "2020-01-01", "2020-01-02"] {
        assert_eq!(state.standing(day.parse().unwrap()), Standing::NotThen);
    }
}

#[test]
fn the_place_of_work_is_that_of_the_day() {
    let to = |day: &str, location: &str| {
        format!(r#"ChangeAssignment "effective_on":"{day}","changes":{{"location_id":{location}}},"reason":"transfer""#)
    };
    let (moves, leaves_it) = (to("2020-03-01", r##""#6""##), to("2020-04-01", "null"));
    let state = given(&[HIRE, &moves, &leaves_it, LEAVE, REHIRE]);
    for (day, location, left) in [
        // Before the first day the first place, and after the last day the last one.
        ("2019-12-31", Some(4), false),
        ("2020-01-01", Some(4), false),
        ("2020-02-29", Some(4), false),
        ("2020-03-01", Some(6), false),
        ("2020-04-01", None, false),
        ("2020-07-01", None, true),
        ("2021-01-01", None, false),
    ] {
        let place = state.place(day.parse().unwrap()).unwrap();
        let location = location.map(|n| LocationId::from_uuid(uuid::Uuid::from_u128(n)));
        assert_eq!((place.location_id, place.left), (location, left), "{day}");
    }
    let left = given(&[HIRE, &moves, LEAVE]).place("2022-01-01".parse().unwrap()).unwrap();
    assert_eq!((left.location_id, left.left), (Some(LocationId::from_uuid(uuid::Uuid::from_u128(6))), true));
}

#[test]
fn a_rehire_follows_an_end() {
    let rehire = |day: &str| REHIRE.replace("2021-01-01", day);
    check(&[HIRE], REHIRE, "still_employed -");
    let never = LEAVE.replace("2020-06-30", "2019-12-31");
    for day in ["2019-01-01", "2019-12-31", "2020-01-01", "2020-02-01"] {
        check(&[HIRE, &never], &rehire(day), &format!("EmployeeRehired {day}/0"));
    }
    // Only what has days is before it.
    let no_return = LEAVE.replace("2020-06-30", "2020-12-31");
    check(&[HIRE, LEAVE, REHIRE, &no_return], &rehire("2020-07-01"), "EmployeeRehired 2020-07-01/0");
    check(&[HIRE, LEAVE, REHIRE, &no_return], &rehire("2020-06-30"), "rehire_before_end /hire_date");
    check(&[HIRE, LEAVE], &rehire("2020-06-30"), "rehire_before_end /hire_date");
    check(&[HIRE, LEAVE], &rehire("2020-07-01"), "EmployeeRehired 2020-07-01/0");
    check(&[HIRE, LEAVE, REHIRE], REHIRE, "");
    check(&[HIRE, LEAVE, REHIRE], &rehire("2021-01-02"), "still_employed -");
    // Back is who was without employment for a day at least, and only from the first day on.
    let back = |rehired: &str, on: &str| given(&[HIRE, LEAVE, &rehire(rehired)]).place(on.parse().unwrap()).unwrap().back_since;
    assert_eq!(back("2020-07-01", "2021-01-01"), None);
    assert_eq!(back("2020-07-02", "2020-07-01"), None);
    assert_eq!(back("2020-07-02", "2020-07-02"), Some("2020-07-02".parse().unwrap()));
    assert_eq!(back("2021-01-01", "2030-01-01"), Some("2021-01-01".parse().unwrap()));
    let twice = given(&[HIRE, LEAVE, REHIRE]);
    let State::Known(person) = twice else { panic!("known") };
    assert_ne!(person.employments[0].id, person.employments[1].id);
}

#[test]
fn a_day_holds_a_bounded_number_of_changes() {
    let amounts: Vec<String> = (1..=u32::from(MAX_SEQ)).map(|n| raise("2020-02-01", &n.to_string())).collect();
    let full: Vec<&str> = std::iter::once(HIRE).chain(amounts.iter().map(String::as_str)).collect();
    check(&full, &raise("2020-02-01", "77777"), "too_many_changes_on_day /effective_on");
    check(&full, &raise("2020-02-02", "77777"), "CompensationChanged 2020-02-02/0");
}

#[track_caller]
fn check_claims(given_commands: &[&str], when: &str, expected: &[&str]) {
    let state = given(given_commands);
    let when = command(when);
    let events = state.decide(&when, &open(&state, &when)).unwrap();
    let shown: Vec<_> = state
        .claims(&events)
        .into_iter()
        .map(|c| format!("{} {}{}", c.of.name, if c.op == ClaimOp::Take { '+' } else { '-' }, c.value))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn numbers_and_addresses_are_claimed() {
    let email = |day: &str, to: &str| format!(r#"ChangeContactDetails "effective_on":"{day}","changes":{{"work_email":{to}}}"#);
    check_claims(&[], HIRE, &["employee_number +17", "work_email +ada@example.com"]);
    check_claims(&[], &HIRE.replace("\"17\"", "\"A-17\""), &["employee_number +a-17", "work_email +ada@example.com"]);
    check_claims(&[HIRE], HIRE, &[]);
    check_claims(&[HIRE], LEAVE, &[]);
    check_claims(&[HIRE, LEAVE], REHIRE, &[]);
    // Whoever never starts gives up both, and takes them again with another offer.
    let (never, offer) = (LEAVE.replace("2020-06-30", "2019-12-31"), REHIRE.replace("2021-01-01", "2019-06-01"));
    let x = email("2020-02-01", "\"x@example.com\"");
    check_claims(&[HIRE], &never, &["employee_number -17", "work_email -ada@example.com"]);
    check_claims(&[HIRE, &x], &never, &["employee_number -17", "work_email -ada@example.com", "work_email -x@example.com"]);
    check_claims(&[HIRE, &never], &x, &[]);
    check_claims(&[HIRE, &never, &x], &offer, &["employee_number +17", "work_email +ada@example.com", "work_email +x@example.com"]);
    check_claims(&[HIRE, LEAVE, REHIRE], &LEAVE.replace("2020-06-30", "2020-12-31"), &[]);
    check_claims(
        &[HIRE, &never, &offer],
        &LEAVE.replace("2020-06-30", "2019-05-31"),
        &["employee_number -17", "work_email -ada@example.com"],
    );
    // The old address was the person's until then and stays so.
    check_claims(&[HIRE], &email("2020-02-01", "\"x@example.com\""), &["work_email +x@example.com"]);
    check_claims(&[HIRE], &email("2020-02-01", "null"), &[]);
    // Replaced on its first day, it never held.
    check_claims(&[HIRE], &email("2020-01-01", "\"x@example.com\""), &["work_email -ada@example.com", "work_email +x@example.com"]);
    check_claims(&[HIRE], &email("2020-01-01", "null"), &["work_email -ada@example.com"]);
    let later = email("2020-02-01", "\"x@example.com\"");
    check_claims(&[HIRE, &later], &email("2020-02-01", "\"y@example.com\""), &["work_email -x@example.com", "work_email +y@example.com"]);
    check_claims(&[HIRE, &later], &email("2020-03-01", "\"ada@example.com\""), &[]);
}

#[test]
fn an_erased_person_still_evolves() {
    let Ok(mut events) = State::default().decide(&command(HIRE), &open(&State::default(), &command(HIRE))) else { panic!("hires") };
    let change = r#"ChangePersonalDetails "effective_on":"2020-01-01","changes":{"given_name":"Eva"}"#;
    events.extend(given(&[HIRE]).decide(&command(change), &Facts::none()).unwrap());
    for event in &mut events {
        let stream = events::StreamName::tenancy(events::TenantId::PLATFORM);
        event
            .each_personal(stream, |_, _, field| {
                let nowhere = events::SealContext { stream, event_type: "", field: "" };
                field.seal(nowhere, &events::PersonKey::from_bytes([0; 32]))?;
                field.open(nowhere, &events::KeyState::Destroyed)
            })
            .unwrap();
    }
    let state = events.iter().fold(State::default(), State::evolve);
    assert_eq!(state.standing("2020-01-01".parse().unwrap()), Standing::Open);
    assert_eq!(state.decide(&command(HIRE), &Facts::none()), Err(Refusal::AlreadyHired));
    assert!(state.claims(&events).is_empty());
    assert_eq!(state.decide(&command(LEAVE), &Facts::none()).unwrap().len(), 1);
}

fn day(n: i32) -> Date {
    jiff::civil::date(2020, 1, 1).checked_add(n.days()).unwrap()
}

/// What a timeline of an employment shows on a day, by its spans: every row that covers the day.
fn rows<C: Change>(timeline: &Timeline<C>, employment: &Employment, on: Date) -> Vec<C::Row>
where
    C::Row: Default,
{
    let end = employment.end.as_ref().map(|(last, _)| last.tomorrow().unwrap());
    let spans = timeline.spans(C::Row::default(), end);
    spans.into_iter().filter(|s| s.from.on <= on && s.to.is_none_or(|to| on < to)).map(|s| s.row).collect()
}

/// Any command about person 1, on a few days and ids so that they meet.
fn any_command() -> impl Strategy<Value = String> {
    let on = (0..40_i32).prop_map(day);
    prop_oneof![
        1 => on.clone().prop_map(|on| HIRE.replace("2020-01-01", &on.to_string())),
        2 => (on.clone(), 2..4_u8).prop_map(|(on, d)| REHIRE.replace("2021-01-01", &on.to_string()).replace("#2", &format!("#{d}"))),
        3 => (-1..40_i32, 0..2_u8).prop_map(|(n, r)| (day(n), r)).prop_map(|(on, r)| LEAVE.replace("2020-06-30", &on.to_string()).replace("resignation", &format!("r{r}"))),
        4 => (on.clone(), 2..6_u8, 0..2_u8)
            .prop_map(|(on, d, r)| transfer(&on.to_string(), &d.to_string()).replace("transfer", &format!("r{r}"))),
        2 => (on.clone(), prop_oneof![Just("null".to_owned()), (2..6_u8).prop_map(|m| format!("\"#{m}\""))])
            .prop_map(|(on, m)| format!(r##"ChangeAssignment "effective_on":"{on}","changes":{{"manager_id":{m},"job_id":"#3"}},"reason":"r""##)),
        4 => (on.clone(), 1..5_u8, 0..2_u8).prop_map(|(on, n, r)| raise(&on.to_string(), &n.to_string()).replace("review", &format!("r{r}"))),
        3 => (on.clone(), prop_oneof![Just("null".to_owned()), (0..4_u8).prop_map(|n| format!("\"e{n}@example.com\""))])
            .prop_map(|(on, e)| format!(r#"ChangeContactDetails "effective_on":"{on}","changes":{{"work_email":{e}}}"#)),
        1 => (on, 0..3_u8).prop_map(|(on, n)| format!(r#"ChangePersonalDetails "effective_on":"{on}","changes":{{"given_name":"n{n}"}}"#)),
    ]
}

/// Employments as a reader of the events sees them: first and last day.
fn employments(history: &[EmployeeEvent]) -> Vec<(Date, Option<Date>)> {
    let mut all: Vec<(Date, Option<Date>)> = Vec::new();
    for event in history {
        match event {
            EmployeeEvent::EmployeeHired(e) => all.push((e.effective.on, None)),
            EmployeeEvent::EmployeeRehired(e) => all.push((e.effective.on, None)),
            EmployeeEvent::EmployeeTerminated(e) => all.last_mut().expect("an employment").1 = Some(e.last_day_worked),
            EmployeeEvent::AssignmentChanged(_)
            | EmployeeEvent::CompensationChanged(_)
            | EmployeeEvent::PersonalDetailsChanged(_)
            | EmployeeEvent::ContactDetailsChanged(_)
            | EmployeeEvent::EmploymentStarted(_)
            | EmployeeEvent::EmploymentEnded(_)
            | EmployeeEvent::ChangeTookEffect(_) => {}
        }
    }
    all
}

/// The last value among those that the changes of a day set.
fn last_on<T, C>(changes: &[(Date, C)], on: Date, set: impl Fn(&C) -> Option<T>) -> Option<T> {
    changes.iter().rev().filter(|(day, _)| *day == on).find_map(|(_, change)| set(change))
}

/// Of a field that may be set or cleared: what it was set to, or that it was cleared.
#[expect(clippy::option_option, reason = "kept, cleared and set are three cases, as in a patch")]
fn said<T: Clone>(patch: &Patch<T>) -> Option<Option<T>> {
    match patch {
        Patch::Keep => None,
        Patch::Clear => Some(None),
        Patch::Set(value) => Some(Some(value.clone())),
    }
}

/// Whether all that a field says of a day was last said so.
fn says_so<T: PartialEq>(said: Option<T>, last: Option<T>) -> bool {
    said.is_none() || said == last
}

/// What a reader of the events knows of the employment that was recorded last.
#[derive(Default)]
struct LastEmployment {
    nth: usize,
    from: Date,
    end: Option<(Date, String)>,
    assignments: Vec<(Date, (AssignmentChange, String))>,
    pay: Vec<(Date, (Pay, String))>,
}

/// Whether a command would change nothing of what its reader knows from the events, told from them without the rules: all that
/// it says, its reason included, is what was said last of that day, and what it starts goes on.
fn is_so_already(history: &[EmployeeEvent], command: &Command) -> bool {
    let (mut last, mut names, mut emails) = (LastEmployment::default(), Vec::new(), Vec::new());
    let mut all: Vec<LastEmployment> = Vec::new();
    for event in history {
        match event {
            EmployeeEvent::EmployeeHired(e) => {
                last = LastEmployment { nth: 1, from: e.effective.on, ..LastEmployment::default() };
                last.assignments.push((last.from, (e.assignment.into(), String::new())));
                last.pay.extend(e.pay.map(|pay| (last.from, (pay, String::new()))));
                names.push((last.from, e.person.clear().unwrap().given_name.clone()));
                emails.push((last.from, e.contact.clear().unwrap().work_email.clone()));
            }
            EmployeeEvent::EmployeeRehired(e) => {
                let next = LastEmployment { nth: last.nth + 1, from: e.effective.on, ..LastEmployment::default() };
                // Somebody who was to start later is there from then on, under the name and address of the hire.
                if let (Some((named, _)), Some((reached, _))) = (names.first_mut(), emails.first_mut()) {
                    *named = next.from.min(*named);
                    *reached = next.from.min(*reached);
                }
                all.push(std::mem::replace(&mut last, next));
                last.assignments.push((last.from, (e.assignment.into(), String::new())));
                last.pay.extend(e.pay.map(|pay| (last.from, (pay, String::new()))));
            }
            EmployeeEvent::AssignmentChanged(e) => {
                let to = all.iter_mut().chain([&mut last]).find(|period| employment_id(e.employee_id, period.nth - 1) == e.employment_id);
                to.unwrap().assignments.push((e.effective.on, (e.changes, e.reason.clone())));
            }
            EmployeeEvent::CompensationChanged(e) => {
                let to = all.iter_mut().chain([&mut last]).find(|period| employment_id(e.employee_id, period.nth - 1) == e.employment_id);
                to.unwrap().pay.push((e.effective.on, (e.pay, e.reason.clone())));
            }
            EmployeeEvent::PersonalDetailsChanged(e) => {
                names.extend(e.changes.clear().unwrap().given_name.clone().map(|name| (e.effective.on, name)));
            }
            EmployeeEvent::ContactDetailsChanged(e) => {
                emails.extend(said(&e.changes.clear().unwrap().work_email).map(|email| (e.effective.on, email)));
            }
            EmployeeEvent::EmployeeTerminated(e) => last.end = Some((e.last_day_worked, e.reason.clone())),
            EmployeeEvent::EmploymentStarted(_) | EmployeeEvent::EmploymentEnded(_) | EmployeeEvent::ChangeTookEffect(_) => {}
        }
    }
    let starts_so = |period: &LastEmployment, on: Date, assignment: &Assignment, pay: Option<Pay>| {
        let assigned = |set: &dyn Fn(&AssignmentChange) -> Option<String>| last_on(&period.assignments, on, |(change, _)| set(change));
        let (now, of_hire) = (&period.assignments, AssignmentChange::from(*assignment));
        let same = |set: &dyn Fn(&AssignmentChange) -> Option<String>| set(&of_hire) == assigned(set);
        !now.is_empty()
            && period.from == on
            && period.end.is_none()
            && last_on(&period.pay, on, |(pay, _)| Some(*pay)) == pay
            && same(&|c| c.department_id.map(|id| id.to_string()))
            && same(&|c| c.job_id.map(|id| id.to_string()))
            && same(&|c| said(&c.manager_id).map(|id| format!("{id:?}")))
    };
    let covering = |on: Date| {
        let covers = |period: &&LastEmployment| period.from <= on && period.end.as_ref().is_none_or(|(day, _)| on <= *day);
        all.iter().chain([&last]).find(covers)
    };
    match command {
        Command::HireEmployee(c) => {
            last.nth == 1
                && starts_so(&last, c.hire_date.date(), &c.assignment, c.pay)
                && last_on(&names, last.from, |name| Some(name.clone())).as_deref() == Some(c.person.given_name.as_str())
                && last_on(&emails, last.from, |email| Some(email.clone())).flatten().as_deref()
                    == c.contact.work_email.as_ref().map(EmailAddress::as_str)
        }
        Command::RehireEmployee(c) => last.nth > 1 && starts_so(&last, c.hire_date.date(), &c.assignment, c.pay),
        Command::ChangeAssignment(c) => covering(c.effective_on.date()).is_some_and(|period| {
            let (on, said_last) = (c.effective_on.date(), &period.assignments);
            last_on(said_last, on, |(_, reason)| Some(reason.clone())).as_deref() == Some(c.reason.as_str())
                && says_so(c.changes.department_id, last_on(said_last, on, |(change, _)| change.department_id))
                && says_so(c.changes.job_id, last_on(said_last, on, |(change, _)| change.job_id))
                && says_so(said(&c.changes.manager_id), last_on(said_last, on, |(change, _)| said(&change.manager_id)))
        }),
        Command::ChangeCompensation(c) => covering(c.effective_on.date()).is_some_and(|period| {
            last_on(&period.pay, c.effective_on.date(), |said| Some(said.clone())) == Some((c.pay, c.reason.to_text()))
        }),
        Command::ChangePersonalDetails(c) => {
            let name = c.changes.given_name.as_ref().map(crate::text::Name::to_text);
            name == last_on(&names, c.effective_on.date(), |name| Some(name.clone()))
        }
        Command::ChangeContactDetails(c) => {
            let email = said(&c.changes.work_email).map(|email| email.map(|email| email.to_text()));
            email == last_on(&emails, c.effective_on.date(), |email| Some(email.clone()))
        }
        Command::TerminateEmployee(c) => last.end == Some((c.last_day_worked.date(), c.reason.to_text())),
        Command::AnnounceDue(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn exactly_one_assignment_on_an_employed_day_and_none_on_others(commands in prop::collection::vec(any_command(), 1..30)) {
        let (mut state, mut history, mut held, mut holds_number) = (State::default(), Vec::new(), BTreeSet::new(), false);
        // Start hired, so that little is refused.
        for text in std::iter::once(HIRE.to_owned()).chain(commands) {
            let command = command(&text);
            let facts = open(&state, &command);
            let decided = state.decide(&command, &facts);
            prop_assert_eq!(decided == Ok(Vec::new()), is_so_already(&history, &command), "{}", text);
            let Ok(events) = decided else { continue };
            let announced = command.claims();
            prop_assert!(state.claims(&events).iter().all(|claim| announced.iter().any(|known| known.covers(claim))), "{}", text);
            for claim in state.claims(&events) {
                if *claim.of == EMPLOYEE_NUMBER {
                    prop_assert_eq!(holds_number, claim.op == ClaimOp::Release, "taken or given up twice");
                    holds_number = claim.op == ClaimOp::Take;
                    continue;
                }
                match claim.op {
                    ClaimOp::Take => prop_assert!(held.insert(claim.value), "taken twice"),
                    ClaimOp::Release => prop_assert!(held.remove(&claim.value), "released unheld"),
                }
            }
            state = events.iter().fold(state, State::evolve);
            history.extend(events);
            prop_assert_eq!(state.decide(&command, &facts), Ok(Vec::new()), "a retry changes nothing");
        }
        let State::Known(person) = &state else { unreachable!("hired first") };
        let periods = employments(&history);
        for on in (-3..50).map(day) {
            let employed = periods.iter().filter(|(from, last)| *from <= on && last.is_none_or(|last| on <= last)).count();
            prop_assert!(employed <= 1, "employments overlap on {}", on);
            let assignments: Vec<_> = person.employments.iter().flat_map(|e| rows(&e.assignments, e, on)).collect();
            prop_assert_eq!(assignments.len(), employed, "assignments on {}", on);
            prop_assert!(assignments.iter().all(Option::is_some));
            prop_assert!(person.employments.iter().flat_map(|e| rows(&e.pay, e, on)).count() <= employed);
            prop_assert_eq!(state.standing(on) == Standing::Open, employed == 1);
        }
        let ever = periods.iter().any(|(from, last)| last.is_none_or(|last| *from <= last));
        let current: BTreeSet<String> = emails(&person.contact).into_iter().map(str::to_owned).filter(|_| ever).collect();
        prop_assert_eq!(current, held, "claims are the addresses that hold on some day, of who is employed on one");
        prop_assert_eq!(holds_number, ever, "a number is held by who is employed on some day");
        for (from, last) in periods.iter().filter(|(from, last)| last.is_none_or(|last| *from <= last)) {
            let known = |on: Date| person.details.on(None, on).flatten().is_some() && person.contact.on(None, on).flatten().is_some();
            prop_assert!(known(*from) && last.is_none_or(known), "somebody works there whose name is not known");
        }
        let replayed = history.iter().fold(State::default(), State::evolve);
        prop_assert_eq!(replayed, state);
    }

    /// On days of their own, also where they say what holds already: the order of arrival does not matter.
    #[test]
    fn inserting_in_the_past_equals_inserting_in_order(
        (ordered, shuffled) in prop::collection::btree_map(1..60_i32, (0..3_usize, 2..5_u128), 1..12).prop_flat_map(|changes| {
            let ordered: Vec<(i32, (usize, u128))> = changes.into_iter().collect();
            (Just(ordered.clone()), Just(ordered).prop_shuffle())
        }),
    ) {
        let build = |changes: &[(i32, (usize, u128))]| {
            changes.iter().fold(given(&[HIRE]), |state, (n, (field, id))| {
                let id = EmployeeId::from_uuid(uuid::Uuid::from_u128(*id));
                let field = ["department_id", "job_id", "manager_id"][*field];
                let change = from_json::<ChangeAssignment>(&format!(
                    r#"{{"employee_id":"{}","effective_on":"{}","changes":{{"{field}":"{id}"}},"reason":"r"}}"#,
                    EmployeeId::from_uuid(uuid::Uuid::from_u128(1)), day(*n),
                ));
                let change = change.expect("a command").into();
                let events = state.decide(&change, &open(&state, &change)).expect("employed");
                assert_eq!(events.len(), 1);
                events.iter().fold(state, State::evolve)
            })
        };
        prop_assert_eq!(build(&ordered), build(&shuffled));
    }
}

/// What becomes due by what a command does.
fn due_by(given_commands: &[&str], when: &str) -> Vec<crate::Due> {
    let state = given(given_commands);
    let when = command(when);
    let events = state.decide(&when, &open(&state, &when)).unwrap();
    events.iter().flat_map(due).collect()
}

/// What is announced of that in the end: the event in short, or nothing.
#[track_caller]
fn announces(given_commands: &[&str], when: &str, later: &[&str], on: &str, expected: &str) {
    let due = due_by(given_commands, when);
    assert_eq!(due.iter().map(|due| due.on.to_string()).collect::<Vec<_>>(), [on]);
    let all: Vec<&str> = given_commands.iter().copied().chain([when]).chain(later.iter().copied()).collect();
    let state = given(&all);
    assert_eq!(due[0].kept(), due[0].command, "it is kept as it is");
    let crate::Command::Employee(announce) = due[0].kept() else { panic!("{due:?}") };
    assert!(state.questions(&announce).is_empty());
    let events = state.decide(&announce, &Facts::none()).unwrap();
    assert_eq!(events.iter().map(show).collect::<Vec<_>>().join(", "), expected);
    assert!(state.claims(&events).is_empty());
    assert!(events.iter().flat_map(super::due).next().is_none(), "an announcement makes nothing due");
    assert_eq!(events.iter().fold(state.clone(), State::evolve), state, "an announcement changes nothing");
}

#[test]
fn what_lies_ahead_is_announced_if_it_is_still_so() {
    let raise =
        r#"ChangeCompensation "effective_on":"2020-03-01","pay":{"rate":{"amount":"60000","currency":"EUR"},"per":"year"},"reason":"r""#;
    let moved = r##"ChangeAssignment "effective_on":"2020-03-01","changes":{"department_id":"#6"},"reason":"r""##;
    let named = r#"ChangePersonalDetails "effective_on":"2020-03-01","changes":{"given_name":"Eva"}"#;
    let reached = r#"ChangeContactDetails "effective_on":"2020-03-01","changes":{"phone":"+431234567"}"#;
    let never_started = r#"TerminateEmployee "last_day_worked":"2019-12-31","reason":"r""#;
    let leaves_before = r#"TerminateEmployee "last_day_worked":"2020-02-29","reason":"r""#;

    announces(&[], HIRE, &[], "2020-01-01", "EmploymentStarted 2020-01-01/0");
    announces(&[], HIRE, &[LEAVE], "2020-01-01", "EmploymentStarted 2020-01-01/0");
    announces(&[], HIRE, &[never_started], "2020-01-01", "");
    announces(&[HIRE], LEAVE, &[], "2020-07-01", "EmploymentEnded 2020-06-30/0");
    announces(&[HIRE], LEAVE, &[REHIRE], "2020-07-01", "EmploymentEnded 2020-06-30/0");
    announces(&[HIRE], never_started, &[], "2020-01-01", "");
    announces(&[HIRE, LEAVE], REHIRE, &[], "2021-01-01", "EmploymentStarted 2021-01-01/0");
    for change in [raise, moved] {
        let event = "ChangeTookEffect 2020-03-01/0";
        announces(&[HIRE], change, &[], "2020-03-01", event);
        announces(&[HIRE], change, &[LEAVE], "2020-03-01", event);
        announces(&[HIRE], change, &[leaves_before], "2020-03-01", "");
    }
    for change in [named, reached] {
        announces(&[HIRE], change, &[leaves_before], "2020-03-01", "ChangeTookEffect 2020-03-01/0");
    }
    let again = raise.replace("60000", "70000");
    announces(&[HIRE, raise], &again, &[], "2020-03-01", "ChangeTookEffect 2020-03-01/1");
}

#[test]
fn nothing_is_announced_of_who_is_not_there() {
    let due = due_by(&[], HIRE);
    let crate::Command::Employee(announce) = &due[0].command else { panic!("{due:?}") };
    assert_eq!(State::Absent.decide(announce, &Facts::none()), Err(Refusal::NotFound));
}
