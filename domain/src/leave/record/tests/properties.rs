//! Any sequence of valid operations keeps the accounts right, and every balance equals one that is computed from the policy in
//! another, simpler way.

use events::{
    EmployeeId,
    leave::{
        AdjustmentId, AllowancePeriod, Amount, Carried, CreditTime, DayAsked, DayPart, EnrolmentId, Holiday, LeavePolicyId,
        LeavePolicyTerms, LeaveTypeClass, LeaveTypeId, LotEnd, PolicyVersion, PostingId, Proration,
    },
};
use jiff::civil::Date;
use proptest::{prelude::*, strategy::ValueTree};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::fixtures::*;
use crate::leave::{
    FromDays, HolidayCalendar,
    dates::add_days,
    posting,
    record::{LeaveRecord, RecordCommand, RecordFacts, RequestStatus},
};

const TYPE: LeaveTypeId = LeaveTypeId::from_uuid(Uuid::from_u128(1));

/// The few numbers that a policy is made of here.
#[derive(Debug, Clone, Copy)]
struct Policy {
    monthly: bool,
    amount: u16,
    by_days: bool,
    carried: Option<u16>,
    ends_in_april: bool,
    limit: u16,
}

fn policies() -> impl Strategy<Value = Policy> {
    (any::<bool>(), 1..30_u16, any::<bool>(), proptest::option::of(0..12_u16), any::<bool>(), 0..4_u16).prop_map(
        |(monthly, amount, by_days, carried, ends_in_april, limit)| Policy {
            monthly,
            amount: if monthly { amount / 10 + 1 } else { amount },
            by_days,
            carried,
            ends_in_april,
            limit,
        },
    )
}

impl Policy {
    fn terms(self) -> LeavePolicyTerms {
        let every = if self.monthly { monthly() } else { events::leave::StepInterval::Months { count: 12, from: month_day("01-01") } };
        let carried = self.carried.map_or(Carried::All, |amount| Carried::UpTo { amount: Amount::from(amount) });
        let ends = self.ends_in_april.then(|| LotEnd::On { day: month_day("04-01") });
        LeavePolicyTerms {
            proration: if self.by_days { Proration::Days } else { Proration::None },
            carry_over: carry("01-01", carried, ends),
            negative_limit: Amount::from(self.limit),
            ..granting(steps(&self.amount.to_string(), AllowancePeriod::Step, every, CreditTime::AtStart))
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Ask { after: i32, days: i32, part: DayPart },
    Approve(usize),
    Reject(usize),
    Withdraw(usize),
    Cancel(usize),
    Adjust(i16),
    Encash(u16),
    Post,
    Wait(i32),
    DeclareHoliday(i32),
    LastDay(i32),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let part = prop_oneof![2 => Just(DayPart::Whole), 1 => Just(DayPart::Morning), 1 => Just(DayPart::Afternoon)];
    let one = prop_oneof![
        5 => (-20..200_i32, 1..12_i32, part).prop_map(|(after, days, part)| Operation::Ask { after, days, part }),
        5 => (0..5_usize).prop_map(Operation::Approve),
        1 => (0..8_usize).prop_map(Operation::Reject),
        1 => (0..8_usize).prop_map(Operation::Withdraw),
        3 => (0..5_usize).prop_map(Operation::Cancel),
        1 => (-4..6_i16).prop_map(Operation::Adjust),
        1 => (1..4_u16).prop_map(Operation::Encash),
        2 => Just(Operation::Post),
        3 => (1..120_i32).prop_map(Operation::Wait),
        1 => (-40..100_i32).prop_map(Operation::DeclareHoliday),
        1 => (-60..300_i32).prop_map(Operation::LastDay),
    ];
    proptest::collection::vec(one, 1..50)
}

/// What a run of operations leaves.
struct Played {
    record: LeaveRecord,
    facts: RecordFacts,
    today: Date,
    asked: u128,
    adjusted: Vec<(Date, Decimal)>,
    refused: usize,
    cancelled_late: bool,
    left_early: bool,
    holidays: Vec<Holiday>,
}

fn play(policy: Policy, hired: Date, operations: &[Operation]) -> Played {
    let policy_id = LeavePolicyId::from_uuid(Uuid::from_u128(1));
    let terms = LeavePolicyTerms { encashable: true, ..policy.terms() };
    let versions = [(policy_id, vec![PolicyVersion { version: 1, from: day("2000-01-01"), terms }])].into();
    let facts = RecordFacts { work: working(&hired.to_string(), vec![]), versions, ..RecordFacts::default() };
    let mut played = Played {
        record: LeaveRecord::default(),
        facts,
        today: hired,
        asked: 0,
        adjusted: Vec::new(),
        refused: 0,
        cancelled_late: false,
        left_early: false,
        holidays: Vec::new(),
    };
    let enrolment_id = EnrolmentId::from_uuid(Uuid::from_u128(1));
    played.send(&RecordCommand::Enrol { enrolment_id, type_id: TYPE, class: LeaveTypeClass::Absence, policy_id, from: hired, until: None });
    for operation in operations {
        played.carry_out(*operation);
    }
    played
}

impl Played {
    fn send(&mut self, command: &RecordCommand) -> bool {
        let person = EmployeeId::from_uuid(Uuid::from_u128(7));
        let Ok(events) = self.record.decide(person, command, &self.facts) else {
            self.refused += 1;
            return false;
        };
        self.record = events.iter().fold(std::mem::take(&mut self.record), LeaveRecord::evolve);
        true
    }
    fn carry_out(&mut self, operation: Operation) {
        let today = self.today;
        let of = |n: usize| request(u128::try_from(n).unwrap_or(0));
        match operation {
            Operation::Ask { after, days, part } => {
                let first = add_days(today, after);
                let on = (0..days).map(|n| DayAsked { on: add_days(first, n), part, hours: None });
                // Half a day without work can't be asked for; these people work from Monday to Friday.
                let days = on.filter(|d| part == DayPart::Whole || d.on.weekday().to_monday_zero_offset() < 5).collect();
                let request_id = request(self.asked);
                if self.send(&RecordCommand::Request { request_id, type_id: TYPE, days, note: None }) {
                    self.asked += 1;
                }
            }
            Operation::Approve(n) => drop(self.send(&RecordCommand::Approve(of(n)))),
            Operation::Reject(n) => drop(self.send(&RecordCommand::Reject(of(n), "r".into()))),
            Operation::Withdraw(n) => drop(self.send(&RecordCommand::Withdraw(of(n)))),
            Operation::Cancel(n) => {
                let was_ahead = self.record.request_of(of(n)).is_some_and(|(_, days)| days.iter().all(|d| d.asked.on >= today));
                if self.send(&RecordCommand::Cancel { request_id: of(n), today }) && !was_ahead {
                    self.cancelled_late = true;
                }
            }
            Operation::Adjust(by) => {
                let adjustment_id = AdjustmentId::from_uuid(Uuid::from_u128(1_000 + self.adjusted.len() as u128));
                let amount = Amount::computed(Decimal::from(by));
                let command = RecordCommand::Adjust { adjustment_id, type_id: TYPE, on: today, amount, ends_on: None, reason: "r".into() };
                if self.send(&command) {
                    self.adjusted.push((today, amount.decimal()));
                }
            }
            Operation::Encash(by) => {
                let encashment_id = AdjustmentId::from_uuid(Uuid::from_u128(1_000 + self.adjusted.len() as u128));
                if self.send(&RecordCommand::Encash { encashment_id, type_id: TYPE, on: today, amount: Amount::from(by) }) {
                    self.adjusted.push((today, -Decimal::from(by)));
                }
            }
            Operation::Post => {
                self.send(&RecordCommand::Post { type_id: TYPE, up_to: today, posting_id: PostingId::from_uuid(Uuid::nil()) });
            }
            Operation::Wait(days) => self.today = add_days(today, days),
            Operation::DeclareHoliday(after) => {
                self.holidays.push(holiday(&add_days(today, after).to_string(), DayPart::Whole));
                let calendar = HolidayCalendar::new("place", 1990..=2100, self.holidays.clone());
                self.facts.work.holidays = FromDays::since(day("1900-01-01"), calendar);
                self.recost();
            }
            Operation::LastDay(after) => {
                let employed = &mut self.facts.work.employments[0];
                employed.last_day = Some(add_days(today, after).max(employed.from));
                self.left_early = true;
                self.recost();
            }
        }
    }
    /// What the worker does when something underneath has changed.
    fn recost(&mut self) {
        for n in 0..self.asked {
            let (request_id, today) = (request(n), self.today);
            let was_ahead = self.record.request_of(request_id).is_some_and(|(_, days)| days.iter().all(|d| d.asked.on >= today));
            assert!(self.send(&RecordCommand::Recost { request_id, today }), "a request can be costed anew");
            let is_cancelled = self.record.request_of(request_id).is_some_and(|(status, _)| matches!(status, RequestStatus::Cancelled(_)));
            self.cancelled_late |= is_cancelled && !was_ahead;
        }
    }
    /// What is taken on each day by requests that hold: approved ones, or pending ones, too.
    fn taken(&self, pending: bool) -> Vec<(Date, Decimal)> {
        let holds = |status: RequestStatus| status == RequestStatus::Approved || pending && status == RequestStatus::Pending;
        (0..self.asked)
            .filter_map(|n| self.record.request_of(request(n)))
            .filter(|(status, _)| holds(*status))
            .flat_map(|(_, days)| days.iter().map(|d| (d.asked.on, d.cost.decimal())))
            .collect()
    }
}

/// The balance by walking through all days with a list of purses: what is in them, and when they are gone.
fn naive(
    policy: Policy,
    hired: Date,
    last_day: Option<Date>,
    taken: &[(Date, Decimal)],
    adjusted: &[(Date, Decimal)],
    until: Date,
) -> (Decimal, Decimal) {
    let mut purses: Vec<(Option<Date>, Decimal)> = Vec::new();
    let (mut debt, mut lowest) = (Decimal::ZERO, Decimal::ZERO);
    fn put(purses: &mut Vec<(Option<Date>, Decimal)>, debt: &mut Decimal, end: Option<Date>, amount: Decimal) {
        let repaid = amount.min(*debt);
        *debt -= repaid;
        purses.push((end, amount - repaid));
    }
    let mut today = hired;
    while today <= until {
        purses.retain(|(end, _)| end.is_none_or(|end| end > today));
        let is_new_year = (today.month(), today.day()) == (1, 1);
        if is_new_year && today > hired {
            let old: Decimal = purses.iter().filter(|(end, _)| end.is_none()).map(|(_, amount)| *amount).sum();
            let kept = policy.carried.map_or(old, |most| old.min(Decimal::from(most)));
            purses.retain(|(end, _)| end.is_some());
            let end = policy.ends_in_april.then(|| Date::constant(today.year(), 4, 1));
            put(&mut purses, &mut debt, end, kept);
        }
        let is_employed = last_day.is_none_or(|last| today <= last);
        if is_employed && (today == hired || is_new_year || policy.monthly && today.day() == 1) {
            let (first, whole) = if policy.monthly {
                (today.first_of_month(), i32::from(today.days_in_month()))
            } else {
                (today.first_of_year(), i32::from(today.days_in_year()))
            };
            let covered = (0..whole).map(|n| add_days(first, n)).filter(|d| *d >= hired && last_day.is_none_or(|last| *d <= last)).count();
            let share = if policy.by_days { Decimal::from(covered) / Decimal::from(whole) } else { Decimal::ONE };
            put(&mut purses, &mut debt, None, Decimal::from(policy.amount) * share);
        }
        for (_, amount) in adjusted.iter().filter(|(on, amount)| *on == today && *amount > Decimal::ZERO) {
            put(&mut purses, &mut debt, None, *amount);
        }
        let less = adjusted.iter().filter(|(on, amount)| *on == today && *amount < Decimal::ZERO).map(|(_, amount)| -*amount);
        let mut wanted: Decimal = taken.iter().filter(|(on, _)| *on == today).map(|(_, amount)| *amount).chain(less).sum();
        purses.sort_by_key(|(end, _)| (end.is_none(), *end));
        for (_, amount) in &mut purses {
            let used = wanted.min(*amount);
            *amount -= used;
            wanted -= used;
        }
        debt += wanted;
        lowest = lowest.min(-debt);
        today = add_days(today, 1);
    }
    (purses.iter().map(|(_, amount)| *amount).sum::<Decimal>() - debt, lowest)
}

fn close(a: Decimal, b: Decimal) -> bool {
    // Amounts are kept to ten decimals; the naive way keeps twenty-eight.
    (a - b).abs() < Decimal::new(1, 7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sequence_of_operations_keeps_the_account_right(
        policy in policies(), start in 0..700_i32, operations in operations(), look in 0..900_i32
    ) {
        let hired = add_days(day("2023-01-01"), start);
        let mut played = play(policy, hired, &operations);
        let horizon = add_days(played.today, 400);
        let with_pending = played.record.account_with_pending(TYPE, horizon, &played.facts).unwrap();
        let alone = played.record.account(TYPE, horizon, &played.facts).unwrap();
        for ledger in [&with_pending, &alone] {
            for lot in &ledger.lots {
                prop_assert!(!lot.left.is_negative(), "{lot:?}");
            }
            let lots: Decimal = ledger.lots.iter().map(|lot| lot.left.decimal()).sum();
            prop_assert!(close(ledger.left().decimal(), lots - ledger.advance.decimal()), "entries do not sum to the lots");
            for lot in &ledger.lots {
                let entries = ledger.entries.iter().filter(|entry| entry.lot == Some(lot.key));
                let sum: Decimal = entries.map(|entry| entry.amount.decimal()).sum();
                prop_assert!(close(sum, lot.left.decimal()), "{lot:?} has entries that sum to {sum}");
            }
        }
        // Rule (a), unless what was taken in good faith is no longer earned.
        if !played.cancelled_late && !played.left_early {
            prop_assert_eq!(&with_pending.shortfalls, &vec![]);
        }
        // The balance of any day.
        if !played.cancelled_late {
            let on = add_days(hired, look);
            for pending in [false, true] {
                let (expected, lowest) = naive(policy, hired, played.facts.work.employments[0].last_day, &played.taken(pending), &played.adjusted, on);
                let account = if pending { LeaveRecord::account_with_pending } else { LeaveRecord::account };
                let ledger = account(&played.record, TYPE, on, &played.facts).unwrap();
                prop_assert!(close(ledger.left().decimal(), expected), "on {on}: {} and not {expected}", ledger.left());
                prop_assert!(played.left_early || lowest >= -Decimal::from(policy.limit) || close(lowest, -Decimal::from(policy.limit)), "on {on} the balance was {lowest}");
            }
        }
        // What is recorded up to a day is what follows from the facts up to that day.
        let today = played.today;
        let posted = played.send(&RecordCommand::Post { type_id: TYPE, up_to: today, posting_id: PostingId::from_uuid(Uuid::nil()) });
        prop_assert!(posted);
        let follows = played.record.account(TYPE, today, &played.facts).unwrap().entries;
        let nonzero = |sums: std::collections::BTreeMap<posting::EntryKey, Decimal>| sums.into_iter().filter(|(_, sum)| !sum.is_zero()).collect::<Vec<_>>();
        prop_assert_eq!(nonzero(posting::sums(played.record.recorded(TYPE))), nonzero(posting::sums(&follows)));
    }
}

/// The operations reach what they are meant to: requests are refused and accepted, people leave, days are cancelled late, and
/// most accounts are compared with the naive way.
#[test]
fn the_operations_reach_what_they_are_for() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut accepted, mut refused, mut late, mut left, mut compared) = (0, 0, 0, 0, 0);
    for _ in 0..100 {
        let policy = policies().new_tree(&mut runner).unwrap().current();
        let operations = operations().new_tree(&mut runner).unwrap().current();
        let played = play(policy, day("2023-05-17"), &operations);
        accepted += played.asked;
        refused += played.refused;
        late += u32::from(played.cancelled_late);
        left += u32::from(played.left_early);
        compared += u32::from(!played.cancelled_late && played.asked > 0);
    }
    let counts = format!("{accepted} accepted, {refused} refused, {late} cancelled late, {left} left, {compared} compared");
    assert!(accepted > 100 && refused > 100 && late > 5 && left > 20 && compared > 40, "{counts}");
}
