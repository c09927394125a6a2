//! What a person's requests may do to each other and to the accounts.

use events::{
    EmployeeId,
    leave::{
        Amount, Carried, DayAsked, DayPart, EnrolmentId, EntryKind, Grant, LeavePolicyId, LeavePolicyTerms, LeaveRequestId, LeaveTypeClass,
        LeaveTypeId, PolicyVersion, PostingId, record::LeaveRecordEvent,
    },
};
use uuid::Uuid;

use super::fixtures::*;
use crate::leave::{
    FromDays, HolidayCalendar,
    costing::{self, CostRefusal},
    record::{LeaveRecord, RecordCommand, RecordFacts, RecordRefusal, RequestStatus},
};

const ANNUAL: LeaveTypeId = LeaveTypeId::from_uuid(Uuid::from_u128(1));
const SICK: LeaveTypeId = LeaveTypeId::from_uuid(Uuid::from_u128(2));

fn person() -> EmployeeId {
    EmployeeId::from_uuid(Uuid::from_u128(7))
}
fn policy(n: u128) -> LeavePolicyId {
    LeavePolicyId::from_uuid(Uuid::from_u128(n))
}
fn versions(terms: LeavePolicyTerms) -> Vec<PolicyVersion> {
    vec![PolicyVersion { version: 1, from: day("2000-01-01"), terms }]
}
/// Annual leave by the terms given; sick leave without end, by a limit that nobody reaches.
fn facts(terms: LeavePolicyTerms) -> RecordFacts {
    let sick = LeavePolicyTerms { negative_limit: amount("1000"), ..granting(Grant::Nothing) };
    let versions = [(policy(1), versions(terms)), (policy(2), versions(sick))].into();
    RecordFacts { work: working("2024-01-01", vec![]), versions, ..RecordFacts::default() }
}
fn enrol(n: u128, type_id: LeaveTypeId, from: &str) -> RecordCommand {
    let enrolment_id = EnrolmentId::from_uuid(Uuid::from_u128(n));
    RecordCommand::Enrol { enrolment_id, type_id, class: LeaveTypeClass::Absence, policy_id: policy(n), from: day(from), until: None }
}
fn ask(n: u128, type_id: LeaveTypeId, days: Vec<DayAsked>) -> RecordCommand {
    RecordCommand::Request { request_id: request(n), type_id, days, note: Some("by the sea".into()) }
}
fn part(on: &str, part: DayPart) -> Vec<DayAsked> {
    vec![DayAsked { on: day(on), part, hours: None }]
}
fn span(first: &str, last: &str) -> Vec<DayAsked> {
    costing::expand(day(first), day(last)).unwrap()
}
fn approve(n: u128) -> RecordCommand {
    RecordCommand::Approve(request(n))
}
fn cancel(n: u128, today: &str) -> RecordCommand {
    RecordCommand::Cancel { request_id: request(n), today: day(today) }
}

/// `others` are the numbers of the requests that stand beside it.
fn not_enough(on: &str, missing: &str, stands_in_the_way: Option<LeaveRequestId>, others: &[u128]) -> RecordRefusal {
    let others = others.iter().map(|n| request(*n)).collect();
    RecordRefusal::NotEnough { on: day(on), missing: amount(missing), request: stands_in_the_way, others }
}

/// Carries a command out. The event types, or the refusal.
fn send(record: &mut LeaveRecord, facts: &RecordFacts, command: &RecordCommand) -> Result<Vec<&'static str>, RecordRefusal> {
    let events = record.decide(person(), command, facts)?;
    *record = events.iter().fold(std::mem::take(record), LeaveRecord::evolve);
    assert!(record.decide(person(), command, facts).is_ok_and(|again| again.is_empty()), "a retry changes nothing: {command:?}");
    Ok(events.iter().map(LeaveRecordEvent::event_type).collect())
}
fn enrolled_record(facts: &RecordFacts) -> LeaveRecord {
    let mut record = LeaveRecord::default();
    for command in [enrol(1, ANNUAL, "2024-01-01"), enrol(2, SICK, "2024-01-01")] {
        send(&mut record, facts, &command).unwrap();
    }
    record
}

/// MODULES 5: morning and afternoon of a day fit; what shares a half conflicts, across types; what is rejected, withdrawn or
/// cancelled holds nothing, and what is only asked to be cancelled holds its days.
#[test]
fn oracle_5_two_live_requests_share_no_half_of_a_day() {
    let facts = facts(terms());
    let on = "2024-06-03";
    let outcome = |before: &[RecordCommand], command: &RecordCommand| {
        let mut record = enrolled_record(&facts);
        for earlier in before {
            send(&mut record, &facts, earlier).unwrap();
        }
        match send(&mut record, &facts, command) {
            Ok(events) => events.join(" "),
            Err(RecordRefusal::DayTaken { on, by }) => format!("{on} by {}", if by == request(1) { "1" } else { "another" }),
            Err(other) => other.to_string(),
        }
    };
    let first = |p| ask(1, ANNUAL, part(on, p));
    let second = |p| ask(2, ANNUAL, part(on, p));
    let conflict = format!("{on} by 1");
    assert_eq!(outcome(&[first(DayPart::Morning)], &second(DayPart::Afternoon)), "LeaveRequested");
    assert_eq!(outcome(&[first(DayPart::Morning)], &second(DayPart::Morning)), conflict);
    assert_eq!(outcome(&[first(DayPart::Morning)], &second(DayPart::Whole)), conflict);
    assert_eq!(outcome(&[first(DayPart::Whole)], &second(DayPart::Afternoon)), conflict);
    assert_eq!(outcome(&[first(DayPart::Morning)], &ask(2, SICK, part(on, DayPart::Whole))), conflict);
    assert_eq!(outcome(&[ask(1, SICK, span("2024-06-01", "2024-06-10"))], &second(DayPart::Morning)), conflict);
    let reject = RecordCommand::Reject(request(1), "no".into());
    for ended in [vec![reject], vec![RecordCommand::Withdraw(request(1))], vec![approve(1), cancel(1, "2024-05-01")]] {
        let before = [vec![first(DayPart::Whole)], ended].concat();
        assert_eq!(outcome(&before, &second(DayPart::Whole)), "LeaveRequested");
    }
    let asked_to_cancel = [first(DayPart::Whole), approve(1), RecordCommand::AskToCancel(request(1))];
    assert_eq!(outcome(&asked_to_cancel, &second(DayPart::Morning)), conflict);
    // A wish to cancel that is refused leaves the leave approved.
    let refused = [&asked_to_cancel[..], &[RecordCommand::RefuseToCancel(request(1), "needed".into())]].concat();
    assert_eq!(outcome(&refused, &second(DayPart::Morning)), conflict);
}

/// CASES 58: the same request sent twice is one; the same days under another id are a conflict.
#[test]
fn case_58_a_request_sent_twice_is_one() {
    let facts = facts(terms());
    let mut record = enrolled_record(&facts);
    let command = ask(1, ANNUAL, span("2024-06-03", "2024-06-07"));
    assert_eq!(send(&mut record, &facts, &command), Ok(vec!["LeaveRequested"]));
    assert_eq!(record.decide(person(), &command, &facts), Ok(vec![]));
    let again = ask(2, ANNUAL, span("2024-06-03", "2024-06-07"));
    assert_eq!(send(&mut record, &facts, &again), Err(RecordRefusal::DayTaken { on: day("2024-06-03"), by: request(1) }));
    assert_eq!(send(&mut record, &facts, &ask(1, ANNUAL, part("2024-06-10", DayPart::Whole))), Err(RecordRefusal::AlreadyExists));
    assert_eq!(send(&mut record, &facts, &ask(3, ANNUAL, vec![])), Err(RecordRefusal::Days(CostRefusal::NoDays)));
    assert_eq!(record.account_with_pending(ANNUAL, day("2024-12-31"), &facts).unwrap().left(), amount("25"));
}

/// MODULES rule (a): no later day goes below the limit, and what stands in the way is named.
#[test]
fn a_request_that_would_leave_another_without_is_refused() {
    let facts = facts(granting(yearly("5")));
    let mut record = enrolled_record(&facts);
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-08-05", "2024-08-07"))).unwrap();
    let earlier = send(&mut record, &facts, &ask(2, ANNUAL, span("2024-06-03", "2024-06-05")));
    assert_eq!(earlier, Err(not_enough("2024-08-07", "1", Some(request(1)), &[1])));
    let later = send(&mut record, &facts, &ask(2, ANNUAL, span("2024-09-02", "2024-09-04")));
    assert_eq!(later, Err(not_enough("2024-09-04", "1", None, &[1])));
    assert_eq!(send(&mut record, &facts, &ask(2, ANNUAL, span("2024-09-02", "2024-09-03"))), Ok(vec!["LeaveRequested"]));
    // A day of the next year has its own allowance.
    assert_eq!(send(&mut record, &facts, &ask(3, ANNUAL, span("2024-12-30", "2025-01-03"))), {
        Err(not_enough("2024-12-30", "1", None, &[2, 1]))
    });
    assert_eq!(send(&mut record, &facts, &ask(3, ANNUAL, span("2025-01-01", "2025-01-07"))), Ok(vec!["LeaveRequested"]));
}

#[test]
fn a_rolling_entitlement_is_kept_on_each_day() {
    let facts = facts(granting(Grant::Rolling { amount: amount("5"), months: 12 }));
    let mut record = enrolled_record(&facts);
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-06-03", "2024-06-06"))).unwrap();
    let more = |n, first, last| ask(n, ANNUAL, span(first, last));
    assert_eq!(send(&mut record, &facts, &more(2, "2025-05-29", "2025-06-02")), Err(not_enough("2025-05-30", "1", None, &[1])));
    assert_eq!(send(&mut record, &facts, &more(2, "2025-05-30", "2025-06-03")), {
        // One is left on 30 May; 2 June is one too many, and only on the 3rd does a day come back.
        Err(not_enough("2025-06-02", "1", None, &[1]))
    });
    assert_eq!(send(&mut record, &facts, &more(2, "2025-06-03", "2025-06-06")), Ok(vec!["LeaveRequested"]));
}

#[test]
fn approval_and_withdrawal_exclude_each_other() {
    let facts = facts(terms());
    let given = |commands: &[RecordCommand]| {
        let mut record = enrolled_record(&facts);
        send(&mut record, &facts, &ask(1, ANNUAL, part("2024-06-03", DayPart::Whole))).unwrap();
        commands.iter().map(|command| send(&mut record, &facts, command)).last().unwrap()
    };
    let withdraw = RecordCommand::Withdraw(request(1));
    assert_eq!(given(&[approve(1)]), Ok(vec!["LeaveApproved"]));
    assert_eq!(given(&[approve(1), withdraw.clone()]), Err(RecordRefusal::WrongStatus(RequestStatus::Approved)));
    assert_eq!(given(&[withdraw, approve(1)]), Err(RecordRefusal::WrongStatus(RequestStatus::Withdrawn)));
    assert_eq!(given(&[cancel(1, "2024-05-01")]), Err(RecordRefusal::WrongStatus(RequestStatus::Pending)));
    assert_eq!(given(&[approve(9)]), Err(RecordRefusal::NotFound));
}

#[test]
fn enrolments_of_a_kind_do_not_overlap_and_their_policy_has_no_gap() {
    let facts = facts(terms());
    let mut record = LeaveRecord::default();
    let late = RecordCommand::Enrol {
        enrolment_id: EnrolmentId::from_uuid(Uuid::from_u128(5)),
        type_id: ANNUAL,
        class: LeaveTypeClass::Absence,
        policy_id: policy(1),
        from: day("1999-12-31"),
        until: Some(day("2000-02-01")),
    };
    assert_eq!(send(&mut record, &facts, &late), Err(RecordRefusal::PolicyGap(day("1999-12-31"))));
    assert_eq!(send(&mut record, &facts, &enrol(3, ANNUAL, "2024-01-01")), Err(RecordRefusal::UnknownPolicy));
    assert_eq!(send(&mut record, &facts, &enrol(1, ANNUAL, "2024-01-01")), Ok(vec!["PersonEnrolled"]));
    let enrolment = EnrolmentId::from_uuid(Uuid::from_u128(1));
    let overlaps = Err(RecordRefusal::Overlaps { enrolment, from: day("2024-01-01") });
    assert_eq!(send(&mut record, &facts, &enrol(2, ANNUAL, "2025-01-01")), overlaps);
    let end = |until: &str| RecordCommand::EndEnrolment { enrolment_id: enrolment, until: day(until) };
    assert_eq!(send(&mut record, &facts, &end("2024-01-01")), Err(RecordRefusal::EndsBeforeStart(day("2024-01-01"))));
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-12-31", "2025-01-02"))).unwrap();
    let stands = Err(RecordRefusal::RequestStands { on: day("2025-01-01"), by: request(1) });
    assert_eq!(send(&mut record, &facts, &end("2025-01-01")), stands);
    send(&mut record, &facts, &RecordCommand::Withdraw(request(1))).unwrap();
    assert_eq!(send(&mut record, &facts, &end("2025-01-01")), Ok(vec!["EnrolmentEnded"]));
    assert_eq!(send(&mut record, &facts, &enrol(2, ANNUAL, "2025-01-01")), Ok(vec!["PersonEnrolled"]));
}

#[test]
fn what_changes_underneath_recosts_a_request_and_the_end_of_an_employment_cancels_it() {
    let mut facts = facts(terms());
    let mut record = enrolled_record(&facts);
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-06-03", "2024-06-07"))).unwrap();
    send(&mut record, &facts, &approve(1)).unwrap();
    let recost = RecordCommand::Recost { request_id: request(1), today: day("2024-05-01") };
    assert_eq!(send(&mut record, &facts, &recost), Ok(vec![]));
    let calendar = HolidayCalendar::new("place", 1990..=2100, [holiday("2024-06-05", DayPart::Whole)]);
    facts.work.holidays = FromDays::since(day("1900-01-01"), calendar);
    assert_eq!(send(&mut record, &facts, &recost), Ok(vec!["LeaveRecosted"]));
    assert_eq!(costing::total(record.request_of(request(1)).unwrap().1), amount("4"));
    facts.work.employments[0].last_day = Some(day("2024-06-04"));
    assert_eq!(send(&mut record, &facts, &recost), Ok(vec!["LeaveRecosted"]));
    assert_eq!(costing::total(record.request_of(request(1)).unwrap().1), amount("2"));
    facts.work.employments[0].last_day = Some(day("2024-05-31"));
    assert_eq!(send(&mut record, &facts, &recost), Ok(vec!["LeaveRecosted", "LeaveCancelled"]));
}

#[test]
fn what_the_balance_no_longer_covers_is_not_approved() {
    let mut facts = facts(granting(yearly("5")));
    let mut record = enrolled_record(&facts);
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-06-03", "2024-06-05"))).unwrap();
    send(&mut record, &facts, &ask(2, ANNUAL, span("2024-07-01", "2024-07-02"))).unwrap();
    facts.versions.insert(policy(1), versions(granting(yearly("4"))));
    assert_eq!(send(&mut record, &facts, &approve(1)), Ok(vec!["LeaveApproved"]));
    let short = not_enough("2024-07-02", "1", None, &[1]);
    assert_eq!(send(&mut record, &facts, &approve(2)), Err(short));
    assert_eq!(send(&mut record, &facts, &RecordCommand::Reject(request(2), "no".into())), Ok(vec!["LeaveRejected"]));
}

#[test]
fn only_what_is_there_is_paid_out() {
    let encash = |n: u128, text: &str| RecordCommand::Encash {
        encashment_id: events::leave::AdjustmentId::from_uuid(Uuid::from_u128(n)),
        type_id: ANNUAL,
        on: day("2024-07-01"),
        amount: amount(text),
    };
    let plain = facts(terms());
    assert_eq!(send(&mut enrolled_record(&plain), &plain, &encash(1, "1")), Err(RecordRefusal::NotEncashable));
    let facts = facts(LeavePolicyTerms { encashable: true, negative_limit: amount("10"), ..granting(yearly("5")) });
    let mut record = enrolled_record(&facts);
    assert_eq!(send(&mut record, &facts, &encash(1, "0")), Err(RecordRefusal::NotPositive));
    let missing = amount("0.5");
    assert_eq!(send(&mut record, &facts, &encash(1, "5.5")), Err(not_enough("2024-07-01", &missing.to_string(), None, &[])));
    assert_eq!(send(&mut record, &facts, &encash(1, "4")), Ok(vec!["LeaveEncashed"]));
    assert!(send(&mut record, &facts, &encash(2, "2")).is_err());
}

/// MODULES rule (c): a step, a carry-over and an end are recorded once, also after a year of downtime.
#[test]
fn what_is_due_is_recorded_once() {
    let carry_over = carry("01-01", Carried::UpTo { amount: amount("5") }, Some(events::leave::LotEnd::On { day: month_day("04-01") }));
    let facts = facts(LeavePolicyTerms { carry_over, ..terms() });
    let post = |up_to: &str| RecordCommand::Post { type_id: ANNUAL, up_to: day(up_to), posting_id: PostingId::from_uuid(Uuid::nil()) };
    let mut record = enrolled_record(&facts);
    send(&mut record, &facts, &ask(1, ANNUAL, span("2024-06-03", "2024-06-07"))).unwrap();
    send(&mut record, &facts, &approve(1)).unwrap();
    assert_eq!(send(&mut record, &facts, &post("2024-01-01")), Ok(vec!["LeaveAccrued"]));
    let once = ["LeaveAccrued", "LeaveTaken", "LeaveCarriedOver", "LeaveLotExpired"];
    assert_eq!(send(&mut record, &facts, &post("2025-06-30")), Ok(once.to_vec()));
    assert_eq!(send(&mut record, &facts, &post("2025-06-30")), Ok(vec![]));
    assert_eq!(send(&mut record, &facts, &post("2024-06-30")), Ok(vec![]), "a clock that goes back");
    let sum = |record: &LeaveRecord| Amount::computed(record.recorded(ANNUAL).iter().map(|e| e.amount.decimal()).sum());
    assert_eq!(sum(&record), amount("30"));
    // Cancelled a year later: the days come back to a year that is closed. Its rule carried 5, which have ended; so nothing is left of them.
    send(&mut record, &facts, &cancel(1, "2025-07-01")).unwrap();
    assert_eq!(send(&mut record, &facts, &post("2025-07-01")), Ok(vec!["LeaveTaken", "LeaveCarriedOver"]));
    assert_eq!(sum(&record), amount("30"));
    assert!(record.recorded(ANNUAL).iter().any(|e| e.kind == EntryKind::Returned));
}
