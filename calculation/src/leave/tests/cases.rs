//! The cases with numbers: `oracle_n` is MODULES section 1, `case_n` is CASES part B. And cases of the same kinds.

use events::leave::{
    AccrualSteps, Allowance, AllowancePeriod, Amount, Carried, Cause, ChangeOver, Counting, CreditTime, DayAsked, DayCost, DayPart, Entry,
    EntryKind, Grant, HalfReason, LeapDay, LeavePolicyTerms, LeaveUnit, LotEnd, LotKey, Proration, RoundingMode, ServiceTier, StepInterval,
    WaitingTime,
};
use jiff::civil::Date;

use super::fixtures::*;
use crate::leave::{
    Employed, Enrolment, FromDays, HolidayCalendar, WorkingTime, accrual,
    balance::{self, Balance},
    costing::{self, CostRefusal, cost, expand},
    dates,
    ledger::{self, Account, Adjustment, Ledger, Taking},
    posting, rolling,
};

fn account<'a>(enrolments: &'a [Enrolment], work: &'a WorkingTime, takings: &'a [Taking]) -> Account<'a> {
    Account { enrolments, work, hours: &[], takings, adjustments: &[] }
}
fn run(account: &Account<'_>, until: &str) -> Ledger {
    ledger::run(account, day(until)).unwrap_or_else(|fault| panic!("{fault}"))
}
fn left(account: &Account<'_>, on: &str) -> String {
    run(account, on).left().to_string()
}
/// What costs of a request are taken, one taking for each day.
fn takings(n: u128, days: &[DayCost]) -> Vec<Taking> {
    days.iter().map(|d| Taking { request: request(n), on: d.asked.on, amount: d.cost, cancelled_on: None }).collect()
}
fn whole(first: &str, last: &str) -> Vec<DayAsked> {
    expand(day(first), day(last)).unwrap_or_else(|refusal| panic!("{refusal}"))
}
fn one(on: &str, part: DayPart) -> Vec<DayAsked> {
    vec![DayAsked { on: day(on), part, hours: None }]
}
fn costs(days: &[DayAsked], enrolments: &[Enrolment], work: &WorkingTime) -> String {
    cost(days, enrolments, work).map_or_else(|refusal| format!("{refusal:?}"), |days| costing::total(&days).to_string())
}

/// MODULES 1: 30 a year, by months from the joining one on, rounded up.
#[test]
fn oracle_1_a_year_is_prorated_by_months_begun_and_rounded_up() {
    for (yearly_amount, joined, expected) in [
        ("30", "2022-02-16", "28"),
        ("30", "2022-05-01", "20"),
        ("30", "2022-12-31", "3"),
        ("24", "2022-11-01", "4"),
        ("30", "2022-01-31", "30"),
    ] {
        let terms = LeavePolicyTerms {
            proration: Proration::MonthsBegun,
            rounding: Some(rounding("1", RoundingMode::Up)),
            ..granting(yearly(yearly_amount))
        };
        let (enrolments, work) = (enrolled(joined, terms), working(joined, vec![]));
        let account = account(&enrolments, &work, &[]);
        assert_eq!(left(&account, "2022-12-31"), expected, "joined {joined}");
        assert_eq!(run(&account, "2023-12-31").entries.last().map(|e| e.amount), Some(amount(yearly_amount)), "the year after is whole");
    }
}

/// MODULES 3: 30 new and 7 carried, 3 of those for good, the others until 1 April; every day counts.
#[test]
fn oracle_3_what_is_carried_for_good_outlives_what_is_carried_until_a_day() {
    for (days, expected) in
        [(vec![("2022-01-04", "2022-01-07"), ("2022-05-02", "2022-05-02")], "32"), (vec![("2022-05-02", "2022-05-04")], "30")]
    {
        let mut carry_over = carry("01-01", Carried::All, Some(LotEnd::On { day: month_day("04-01") }));
        carry_over.for_good = amount("3");
        // The last day of the year before earns nothing, so that 7 by hand are all that is carried.
        let counting = Counting::CalendarDays { holidays_are_free: false };
        let terms = LeavePolicyTerms { counting, proration: Proration::MonthsCompleted, carry_over, ..terms() };
        let (enrolments, work) = (enrolled("2021-12-31", terms), working("2021-12-31", vec![]));
        let asked: Vec<DayAsked> = days.iter().flat_map(|(first, last)| whole(first, last)).collect();
        let takings = takings(1, &cost(&asked, &enrolments, &work).unwrap());
        let id = events::leave::AdjustmentId::from_uuid(uuid::Uuid::nil());
        let carried = [Adjustment { id, on: day("2021-12-31"), amount: amount("7"), ends_on: None, is_encashment: false }];
        let account = Account { adjustments: &carried, ..account(&enrolments, &work, &takings) };
        assert_eq!(left(&account, "2022-05-04"), expected);
    }
}

/// MODULES 6: Mon–Fri until 2022-01-16, Mon–Wed from 01-17.
#[test]
fn oracle_6_each_day_is_costed_by_the_schedule_in_force() {
    let mut work = working("2020-01-01", vec![]);
    work.schedule = work.schedule.then(day("2022-01-17"), week("44 44 44 .. .. .. .."));
    assert_eq!(costs(&whole("2022-01-10", "2022-01-23"), &enrolled("2020-01-01", terms()), &work), "8");
}

/// MODULES 7: 24 and 31 December are half, 25, 26 and 1 January off.
#[test]
fn oracle_7_halves_of_holidays_are_free() {
    let holidays = vec![
        holiday("2013-12-24", DayPart::Afternoon),
        holiday("2013-12-25", DayPart::Whole),
        holiday("2013-12-26", DayPart::Whole),
        holiday("2013-12-31", DayPart::Afternoon),
        holiday("2014-01-01", DayPart::Whole),
    ];
    let work = working("2010-01-01", holidays);
    assert_eq!(costs(&whole("2013-12-23", "2014-01-02"), &enrolled("2010-01-01", terms()), &work), "5");
}

/// MODULES 9: 12 weeks in any 12 months, looking back: 4 weeks each from 1 Feb, 1 Jun and 1 Dec 1994.
#[test]
fn oracle_9_a_rolling_entitlement_comes_back_as_it_was_used() {
    let grant = Grant::Rolling { amount: amount("60"), months: 12 };
    let (enrolments, work) = (enrolled("1990-01-01", granting(grant)), working("1990-01-01", vec![]));
    let mut all = Vec::new();
    for (n, first) in [(1, "1994-02-01"), (2, "1994-06-01"), (3, "1994-12-01")] {
        let asked = expand(day(first), dates::add_days(day(first), 27)).unwrap();
        all.extend(takings(n, &cost(&asked, &enrolments, &work).unwrap()));
    }
    let left = |on: &str| rolling::left(amount("60"), 12, &all, day(on)).to_string();
    assert_eq!((left("1994-11-30"), left("1994-12-28")), ("20".into(), "0".into()));
    for nothing in ["1995-01-01", "1995-01-15", "1995-01-31"] {
        assert_eq!(left(nothing), "0", "{nothing}");
    }
    // The first of February 1994 was a Tuesday.
    for (on, back) in [("1995-02-01", "1"), ("1995-02-02", "2"), ("1995-02-05", "4"), ("1995-02-28", "20"), ("1995-06-01", "21")] {
        assert_eq!(left(on), back, "{on}");
    }
    assert_eq!(rolling::first_shortfall(amount("60"), 12, &all), None);
    let balance = balance::on(&account(&enrolments, &work, &all), &[], day("1995-02-02")).unwrap();
    assert_eq!(balance.left, amount("2"));
    all.extend(takings(4, &cost(&whole("1995-01-31", "1995-02-01"), &enrolments, &work).unwrap()));
    assert_eq!(rolling::first_shortfall(amount("60"), 12, &all), Some(day("1995-01-31")));
}

/// MODULES 10: in the first year a twelfth at the start of each month, up to the next half; 28 a year.
#[test]
fn oracle_10_twelfths_are_rounded_as_a_sum() {
    let terms = LeavePolicyTerms {
        rounding: Some(rounding("0.5", RoundingMode::Up)),
        carry_over: carry("03-01", Carried::Nothing, None),
        ..granting(steps("28", AllowancePeriod::Year, StepInterval::ServiceMonths { count: 1 }, CreditTime::AtStart))
    };
    let (enrolments, work) = (enrolled("2024-03-01", terms), working("2024-03-01", vec![]));
    let account = account(&enrolments, &work, &[]);
    for (on, expected) in [("2024-03-01", "2.5"), ("2024-04-01", "5"), ("2024-05-01", "7"), ("2025-02-28", "28")] {
        assert_eq!(left(&account, on), expected, "{on}");
    }
}

/// MODULES 10: 5.6 weeks of the person's own, at most 28 days.
#[test]
fn oracle_10_weeks_are_as_long_as_the_persons_and_capped() {
    for (days, expected) in
        [("44 44 44 .. .. .. ..", "16.8"), ("44 44 44 44 44 44 ..", "28"), (MON_TO_FRI, "28"), ("44 44 44 44 .. .. ..", "22.4")]
    {
        let allowance = Allowance::Weeks { weeks: amount("5.6"), at_most: Some(amount("28")) };
        let every = StepInterval::ServiceMonths { count: 12 };
        let grant = Grant::Steps(AccrualSteps { allowance, per: AllowancePeriod::Year, every, credit: CreditTime::AtStart });
        let mut work = working("2024-03-01", vec![]);
        work.schedule = FromDays::since(day("2024-03-01"), week(days));
        let enrolments = enrolled("2024-03-01", granting(grant));
        assert_eq!(left(&account(&enrolments, &work, &[]), "2024-03-01"), expected, "{days}");
    }
}

/// CASES 46: cap 28, 21 a year, carry at most 7; 15 taken.
#[test]
fn case_46_what_is_left_is_carried_not_what_may_be() {
    let terms = LeavePolicyTerms {
        balance_cap: Some(amount("28")),
        carry_over: carry("01-01", Carried::UpTo { amount: amount("7") }, None),
        ..granting(yearly("21"))
    };
    let (enrolments, work) = (enrolled("2024-01-01", terms), working("2024-01-01", vec![]));
    let taken = |days: &str| [taking(1, "2024-06-03", days)];
    assert_eq!(left(&account(&enrolments, &work, &taken("15")), "2025-01-01"), "27");
    assert_eq!(left(&account(&enrolments, &work, &taken("10")), "2025-01-01"), "28");
    assert_eq!(left(&account(&enrolments, &work, &[]), "2026-01-01"), "28");
}

/// CASES 47: 10 a year credited on 1 January for the year that ended, carry-over date 1 July, all carried.
#[test]
fn case_47_a_carry_over_date_credits_nothing() {
    let terms = LeavePolicyTerms {
        proration: Proration::Days,
        carry_over: carry("07-01", Carried::All, None),
        ..granting(steps("10", AllowancePeriod::Year, StepInterval::Months { count: 12, from: month_day("01-01") }, CreditTime::AtEnd))
    };
    let (enrolments, work) = (enrolled("2024-01-01", terms), working("2024-01-01", vec![]));
    let account = account(&enrolments, &work, &[]);
    for (on, expected) in [("2024-12-31", "0"), ("2025-01-01", "10"), ("2025-07-01", "10"), ("2026-01-01", "20")] {
        assert_eq!(left(&account, on), expected, "{on}");
    }
}

/// CASES 48: 2 on the first of each month from 2024-07-01 on; what is carried is good for 3 months from 2025-07-01.
#[test]
fn case_48_carried_days_end_after_months() {
    let carry_over = carry("07-01", Carried::All, Some(LotEnd::AfterMonths { months: 3 }));
    let terms = LeavePolicyTerms { carry_over, ..granting(steps("2", AllowancePeriod::Step, monthly(), CreditTime::AtStart)) };
    let (enrolments, work) = (enrolled("2024-07-01", terms), working("2024-07-01", vec![]));
    let account = account(&enrolments, &work, &[]);
    let on = balance::on(&account, &[], day("2025-09-23")).unwrap();
    assert_eq!((on.left.to_string(), on.ends_next), ("30".into(), Some((day("2025-10-01"), amount("24")))));
    assert_eq!((left(&account, "2025-09-30"), left(&account, "2025-10-01")), ("30".into(), "8".into()));
}

/// CASES 49: 20 at the start of the year, nothing carried, 10 taken this year.
#[test]
fn case_49_a_new_year_is_whole() {
    let (enrolments, work) = (enrolled("2024-01-01", granting(yearly("20"))), working("2024-01-01", vec![]));
    let taken = [taking(1, "2024-06-03", "10")];
    assert_eq!(left(&account(&enrolments, &work, &taken), "2025-01-01"), "20");
}

/// CASES 50: monthly steps in year one, then a yearly one, in advance: what the change-over credits is there the month after.
#[test]
fn case_50_what_a_change_of_tier_credits_stays() {
    let tiers = |first: StepInterval, then: StepInterval| {
        vec![
            ServiceTier { after_months: 0, grant: steps("1", AllowancePeriod::Step, first, CreditTime::AtStart) },
            ServiceTier { after_months: 12, grant: steps("24", AllowancePeriod::Year, then, CreditTime::AtStart) },
        ]
    };
    let carry_over = carry("01-01", Carried::All, None);
    let by_service = tiers(StepInterval::ServiceMonths { count: 1 }, StepInterval::ServiceMonths { count: 12 });
    let (enrolments, work) =
        (enrolled("2024-03-10", LeavePolicyTerms { tiers: by_service, carry_over, ..terms() }), working("2024-03-10", vec![]));
    let of_service = account(&enrolments, &work, &[]);
    for (on, expected) in [("2025-03-09", "12"), ("2025-03-10", "36"), ("2025-04-10", "36"), ("2026-03-09", "36"), ("2026-03-10", "60")] {
        assert_eq!(left(&of_service, on), expected, "{on}");
    }
    // The same where steps follow the calendar and the tier begins within one: that step is divided by its days.
    let terms = LeavePolicyTerms {
        tiers: tiers(monthly(), StepInterval::Months { count: 12, from: month_day("01-01") }),
        change_over: ChangeOver::AtOnce,
        proration: Proration::Days,
        rounding: Some(rounding("0.01", RoundingMode::HalfUp)),
        carry_over,
        ..terms()
    };
    let enrolments = enrolled("2024-03-10", terms);
    let by_calendar = account(&enrolments, &work, &[]);
    let before = run(&by_calendar, "2025-03-09").left().decimal();
    let at = run(&by_calendar, "2025-03-10").left().decimal();
    // 297 of 365 days of 24.
    assert_eq!(Amount::computed(at - before), amount("19.53"));
    assert_eq!(run(&by_calendar, "2025-04-10").left().decimal(), at);
    assert_eq!(run(&by_calendar, "2025-12-31").left().decimal(), at);
}

/// CASES 52: a contract without Friday afternoons.
#[test]
fn case_52_a_half_without_work_costs_nothing_and_cannot_be_taken() {
    let mut work = working("2020-01-01", vec![]);
    work.schedule = FromDays::since(day("2020-01-01"), week("44 44 44 44 4. .. .."));
    let enrolments = enrolled("2020-01-01", terms());
    let friday = "2025-06-13";
    assert_eq!(costs(&one(friday, DayPart::Morning), &enrolments, &work), "0.5");
    assert_eq!(costs(&one(friday, DayPart::Afternoon), &enrolments, &work), "NothingToTake(2025-06-13)");
    assert_eq!(costs(&one(friday, DayPart::Whole), &enrolments, &work), "0.5");
    assert_eq!(costs(&one("2025-06-14", DayPart::Whole), &enrolments, &work), "NothingToTake(2025-06-14)", "a Saturday");
}

/// CASES 53: the afternoon of 24 December is off.
#[test]
fn case_53_half_a_holiday_leaves_half_a_day_to_take() {
    let work = working("2020-01-01", vec![holiday("2025-12-24", DayPart::Afternoon)]);
    let enrolments = enrolled("2020-01-01", terms());
    assert_eq!(costs(&one("2025-12-24", DayPart::Morning), &enrolments, &work), "0.5");
    assert_eq!(costs(&one("2025-12-24", DayPart::Afternoon), &enrolments, &work), "NothingToTake(2025-12-24)");
    let day = cost(&one("2025-12-24", DayPart::Whole), &enrolments, &work).unwrap().remove(0);
    let name = "holiday of 2025-12-24".to_owned();
    assert_eq!((day.cost, day.morning, day.afternoon), (amount("0.5"), Some(HalfReason::Counted), Some(HalfReason::Holiday { name })));
}

/// CASES 54: years from 1 August, 10 + 10; Fri 2023-07-28 to Wed 08-02.
#[test]
fn case_54_a_request_over_the_years_end_is_booked_on_both_sides() {
    let terms = LeavePolicyTerms {
        carry_over: carry("08-01", Carried::Nothing, None),
        ..granting(steps("10", AllowancePeriod::Year, StepInterval::Months { count: 12, from: month_day("08-01") }, CreditTime::AtStart))
    };
    let (enrolments, work) = (enrolled("2022-08-01", terms), working("2022-08-01", vec![]));
    let days = cost(&whole("2023-07-28", "2023-08-02"), &enrolments, &work).unwrap();
    let of_year = |year: &str| costing::total(&days.iter().filter(|d| d.leave_year == day(year)).cloned().collect::<Vec<_>>()).to_string();
    assert_eq!((of_year("2022-08-01"), of_year("2023-08-01")), ("2".into(), "2".into()));
    let takings = takings(1, &days);
    let ledger = run(&account(&enrolments, &work, &takings), "2023-08-02");
    let from_lot = |from: &str| {
        let lot = LotKey::Step { enrolment: enrolments[0].id, from: day(from) };
        let taken = ledger.entries.iter().filter(|e| e.kind == EntryKind::Taken && e.lot == Some(lot));
        taken.map(|e| -e.amount.decimal()).sum::<rust_decimal::Decimal>().to_string()
    };
    assert_eq!((from_lot("2022-08-01"), from_lot("2023-08-01"), ledger.left().to_string()), ("2".into(), "2".into(), "8".into()));
}

/// CASES 56: 20 March to 19 April 2025 in days of the calendar; a holiday from 30 March to 4 April is declared later.
#[test]
fn case_56_a_holiday_declared_later_is_given_back_as_entries_of_its_own() {
    let terms = LeavePolicyTerms { counting: Counting::CalendarDays { holidays_are_free: true }, ..granting(yearly("60")) };
    let (enrolments, mut work) = (enrolled("2025-01-01", terms), working("2025-01-01", vec![]));
    let asked = cost(&whole("2025-03-20", "2025-04-19"), &enrolments, &work).unwrap();
    assert_eq!(costing::total(&asked).to_string(), "31");
    let before = run(&account(&enrolments, &work, &takings(1, &asked)), "2025-04-01").entries;

    let declared = whole("2025-03-30", "2025-04-04").iter().map(|d| holiday(&d.on.to_string(), DayPart::Whole)).collect();
    work.holidays = working("2025-01-01", declared).holidays;
    let again = costing::recost(&asked, &enrolments, &work).unwrap();
    assert_eq!(costing::total(&again).to_string(), "25");

    // On 1 April three days of the holiday are past and recorded; they come back, and those ahead never are taken.
    let after = takings(1, &again);
    let due = posting::due(&run(&account(&enrolments, &work, &after), "2025-04-19").entries, &before);
    let back: Vec<&Entry> = due.iter().filter(|e| e.amount.is_positive()).collect();
    assert_eq!(back.iter().map(|e| e.on.to_string()).collect::<Vec<_>>(), ["2025-03-30", "2025-03-31", "2025-04-01"]);
    assert!(back.iter().all(|e| e.kind == EntryKind::Taken && e.cause == Cause::Request { id: request(1), day: e.on }));
    // Where all of the leave is over, all six come back.
    let all = run(&account(&enrolments, &work, &takings(1, &asked)), "2025-04-19").entries;
    let due = posting::due(&run(&account(&enrolments, &work, &after), "2025-04-19").entries, &all);
    assert_eq!((due.len(), due.iter().map(|e| e.amount.decimal()).sum::<rust_decimal::Decimal>().to_string()), (6, "6".into()));
}

/// CASES 57: five years are not 1,825 days.
#[test]
fn case_57_years_of_service_are_counted_by_the_calendar() {
    let hired = day("2018-10-20");
    assert_eq!(dates::add_days(hired, 1_825), day("2023-10-19"));
    assert_eq!(dates::completes_months(hired, 60, LeapDay::February28), day("2023-10-20"));
    let years = |on: &str| dates::completed_years(hired, day(on), LeapDay::February28);
    assert_eq!((years("2023-10-19"), years("2023-10-20"), years("2018-10-20"), years("2019-10-19")), (4, 5, 0, 0));
    let tiers = vec![
        ServiceTier {
            after_months: 0,
            grant: steps("1", AllowancePeriod::Step, StepInterval::ServiceMonths { count: 12 }, CreditTime::AtStart),
        },
        ServiceTier {
            after_months: 60,
            grant: steps("100", AllowancePeriod::Step, StepInterval::ServiceMonths { count: 12 }, CreditTime::AtStart),
        },
    ];
    let (enrolments, work) = (enrolled("2018-10-20", LeavePolicyTerms { tiers, ..terms() }), working("2018-10-20", vec![]));
    let credits = accrual::plan(&enrolments, &work, &[], day("2023-12-31")).unwrap();
    assert_eq!(credits.last().map(|c| (c.on, c.amount)), Some((day("2023-10-20"), amount("100"))));
    assert_eq!(credits.len(), 6);
}

/// CASES 58: a length of 0 or −3 days is refused. (That a request sent twice is one: see the record's tests.)
#[test]
fn case_58_a_request_has_a_day() {
    assert_eq!(expand(day("2025-06-10"), day("2025-06-07")), Err(CostRefusal::NoDays));
    assert_eq!(costs(&[], &enrolled("2020-01-01", terms()), &working("2020-01-01", vec![])), "NoDays");
    assert_eq!(whole("2025-06-10", "2025-06-10").len(), 1);
    assert!(matches!(expand(day("2000-01-01"), day("2100-01-01")), Err(CostRefusal::TooManyDays { .. })));
    let twice = [one("2025-06-10", DayPart::Morning), one("2025-06-10", DayPart::Afternoon)].concat();
    assert_eq!(costs(&twice, &enrolled("2020-01-01", terms()), &working("2020-01-01", vec![])), "DayTwice(2025-06-10)");
}

/// CASES 60: born on 29 February: once in 2025, by choice; on the 29th in 2028.
#[test]
fn case_60_the_leap_day_has_one_anniversary_each_year() {
    let born = day("2000-02-29");
    for (year, leap, expected) in [
        (2025, LeapDay::February28, "2025-02-28"),
        (2025, LeapDay::March1, "2025-03-01"),
        (2028, LeapDay::February28, "2028-02-29"),
        (2028, LeapDay::March1, "2028-02-29"),
    ] {
        assert_eq!(dates::anniversary(born, year, leap), Some(day(expected)));
    }
    assert_eq!(dates::completed_years(born, day("2025-02-28"), LeapDay::March1), 24);
    assert_eq!(dates::completed_years(born, day("2025-02-28"), LeapDay::February28), 25);
}

/// CASES 61: joined 2020-01-03; nothing on the first day.
#[test]
fn case_61_the_first_day_is_no_anniversary() {
    let joined = day("2020-01-03");
    assert_eq!(dates::anniversary(joined, 2025, LeapDay::March1), Some(day("2025-01-03")));
    assert_eq!(dates::completed_years(joined, day("2025-01-03"), LeapDay::March1), 5);
    assert_eq!((dates::anniversary(joined, 2020, LeapDay::March1), dates::anniversary(joined, 2019, LeapDay::March1)), (None, None));
}

// The same kinds of thing, with other numbers.

#[test]
fn each_bad_day_is_refused_with_its_own_reason() {
    let mut work = working("2024-01-01", vec![]);
    work.employments[0].last_day = Some(day("2024-12-31"));
    let from = |enrolled_from: &str, terms: LeavePolicyTerms| enrolled(enrolled_from, terms);
    let ask = |on: &str, terms: LeavePolicyTerms, work: &WorkingTime| costs(&one(on, DayPart::Whole), &from("2024-01-08", terms), work);
    assert_eq!(ask("2023-12-29", terms(), &work), "NotEmployed(2023-12-29)");
    assert_eq!(ask("2025-01-02", terms(), &work), "NotEmployed(2025-01-02)");
    assert_eq!(ask("2024-01-03", terms(), &work), "NoPolicy(2024-01-03)");
    let waiting = LeavePolicyTerms { wait_to_take: WaitingTime { months: 3, days: 1 }, ..terms() };
    assert_eq!(ask("2024-04-01", waiting.clone(), &work), "Waiting { on: 2024-04-01, until: 2024-04-02 }");
    assert_eq!(ask("2024-04-02", waiting, &work), "1");
    work.schedule = FromDays::since(day("2024-02-01"), week(MON_TO_FRI));
    assert_eq!(ask("2024-01-31", terms(), &work), "NoSchedule(2024-01-31)");
    work.holidays = FromDays::since(day("2024-03-01"), HolidayCalendar::new("AT-9", [2024], []));
    assert_eq!(ask("2024-02-29", terms(), &work), "NoCalendar(2024-02-29)");
    work.employments[0].last_day = None;
    assert_eq!(ask("2025-01-02", terms(), &work), "UnknownYear { calendar: \"AT-9\", year: 2025 }");
}

#[test]
fn nothing_finer_than_the_unit_is_taken() {
    let work = working("2024-01-01", vec![]);
    let ask = |part, hours: Option<&str>, unit| {
        let days = [DayAsked { on: day("2024-06-03"), part, hours: hours.map(amount) }];
        costs(&days, &enrolled("2024-01-01", LeavePolicyTerms { unit, ..terms() }), &work)
    };
    assert!(ask(DayPart::Morning, None, LeaveUnit::Days).starts_with("FinerThanUnit"));
    assert!(ask(DayPart::Whole, Some("2"), LeaveUnit::HalfDays).starts_with("FinerThanUnit"));
    assert!(ask(DayPart::Whole, Some("2.5"), LeaveUnit::Hours).starts_with("FinerThanUnit"));
    assert!(ask(DayPart::Whole, Some("2.3"), LeaveUnit::QuarterHours).starts_with("FinerThanUnit"));
    assert!(ask(DayPart::Morning, Some("4.25"), LeaveUnit::QuarterHours).starts_with("MoreThanThere"));
    assert_eq!(ask(DayPart::Whole, Some("0"), LeaveUnit::Hours), "NoHours(2024-06-03)");
    assert_eq!(ask(DayPart::Whole, Some("-3"), LeaveUnit::Hours), "NoHours(2024-06-03)");
    assert_eq!(ask(DayPart::Whole, None, LeaveUnit::Hours), "8");
    assert_eq!(ask(DayPart::Morning, None, LeaveUnit::QuarterHours), "4");
    assert_eq!(ask(DayPart::Whole, Some("2.25"), LeaveUnit::QuarterHours), "2.25");
}

#[test]
fn a_shortened_employment_leaves_days_that_cost_nothing() {
    let (enrolments, mut work) = (enrolled("2024-01-01", terms()), working("2024-01-01", vec![]));
    let days = cost(&whole("2024-06-24", "2024-07-05"), &enrolments, &work).unwrap();
    work.employments[0].last_day = Some(day("2024-06-28"));
    let again = costing::recost(&days, &enrolments, &work).unwrap();
    assert_eq!((costing::total(&days).to_string(), costing::total(&again).to_string()), ("10".into(), "5".into()));
    assert_eq!(again.last().and_then(|d| d.morning.clone()), Some(HalfReason::NotEmployed));
}

#[test]
fn a_full_time_fraction_counts_for_its_days() {
    let terms = LeavePolicyTerms { by_fraction: true, proration: Proration::Days, ..granting(yearly("36.5")) };
    let (enrolments, mut work) = (enrolled("2023-01-01", terms), working("2023-01-01", vec![]));
    let half = events::leave::WorkFraction::new(rust_decimal::Decimal::new(5, 1)).unwrap();
    work.fraction = FromDays::since(day("2023-04-11"), half);
    // 100 days of 0.1 and 265 of 0.05.
    assert_eq!(left(&account(&enrolments, &work, &[]), "2023-12-31"), "23.25");
}

#[test]
fn whoever_leaves_earns_until_the_last_day() {
    let at_end = granting(steps("24", AllowancePeriod::Year, monthly(), CreditTime::AtEnd));
    let (enrolments, mut work) =
        (enrolled("2023-01-01", LeavePolicyTerms { proration: Proration::Days, ..at_end }), working("2023-01-01", vec![]));
    work.employments[0].last_day = Some(day("2023-04-15"));
    let account = account(&enrolments, &work, &[]);
    assert_eq!(
        (left(&account, "2023-04-14"), left(&account, "2023-04-15"), left(&account, "2024-12-31")),
        ("6".into(), "7".into(), "0".into())
    );
    assert_eq!(left(&account, "2023-12-31"), "7", "until the year ends");
    work.employments[0].last_day = Some(day("2023-03-31"));
    let account = super::cases::account(&enrolments, &work, &[]);
    assert_eq!(
        (left(&account, "2023-03-30"), left(&account, "2023-03-31"), left(&account, "2023-12-31")),
        ("4".into(), "6".into(), "6".into())
    );
}

#[test]
fn hours_worked_earn_leave() {
    let terms = LeavePolicyTerms { unit: LeaveUnit::QuarterHours, ..granting(Grant::PerHourWorked { per_hour: amount("0.1207") }) };
    let (enrolments, work) = (enrolled("2024-01-01", terms), working("2024-01-01", vec![]));
    let hours = [("2024-01-07", "40"), ("2024-01-14", "37.5"), ("2024-01-14", "2.5"), ("2023-12-31", "40")]
        .map(|(on, hours)| accrual::HoursWorked { on: day(on), hours: amount(hours) });
    let account = Account { hours: &hours, ..account(&enrolments, &work, &[]) };
    assert_eq!((left(&account, "2024-01-13"), left(&account, "2024-01-14")), ("4.828".into(), "9.656".into()));
}

#[test]
fn waiting_earns_nothing_and_a_new_version_counts_from_its_first_step() {
    let waiting = LeavePolicyTerms {
        wait_to_accrue: WaitingTime { months: 3, days: 0 },
        ..granting(steps("2", AllowancePeriod::Step, monthly(), CreditTime::AtStart))
    };
    let work = working("2024-01-01", vec![]);
    let mut enrolments = enrolled("2024-01-01", waiting);
    assert_eq!(left(&account(&enrolments, &work, &[]), "2024-03-31"), "0");
    assert_eq!(left(&account(&enrolments, &work, &[]), "2024-05-31"), "4");
    let more = LeavePolicyTerms {
        tiers: granting(steps("3", AllowancePeriod::Step, monthly(), CreditTime::AtStart)).tiers,
        ..enrolments[0].versions[0].terms.clone()
    };
    enrolments[0].versions.push(events::leave::PolicyVersion { version: 2, from: day("2024-05-15"), terms: more });
    let account = account(&enrolments, &work, &[]);
    assert_eq!((left(&account, "2024-05-31"), left(&account, "2024-06-01")), ("4".into(), "7".into()));
    assert_eq!(run(&account, "2024-06-01").entries.len(), 3);
}

fn carried_into_march() -> Vec<Enrolment> {
    let carry_over = carry("01-01", Carried::UpTo { amount: amount("5") }, Some(LotEnd::On { day: month_day("04-01") }));
    enrolled("2023-01-01", LeavePolicyTerms { carry_over, ..granting(yearly("20")) })
}

#[test]
fn a_day_cancelled_after_its_lot_ended_ends_again() {
    let (enrolments, work) = (carried_into_march(), working("2023-01-01", vec![]));
    let at = |cancelled_on: Option<&str>| {
        let taking = Taking { cancelled_on: cancelled_on.map(day), ..taking(1, "2024-03-04", "3") };
        run(&account(&enrolments, &work, &[taking]), "2024-05-01")
    };
    assert_eq!(at(None).left().to_string(), "20", "3 of 5 carried days are used, 2 end, 20 are new");
    let late = at(Some("2024-04-15"));
    assert_eq!(late.left().to_string(), "20");
    let last_two: Vec<_> = late.entries.iter().rev().take(2).map(|e| (e.kind, e.amount.to_string(), e.lot)).collect();
    let lot = Some(LotKey::Carried { into: day("2024-01-01"), for_good: false });
    assert_eq!(last_two, [(EntryKind::Expired, "-3".into(), lot), (EntryKind::Returned, "3".into(), lot)]);
    // In time it comes back to its lot and can be used for other days until that ends.
    let other = taking(2, "2024-03-20", "4");
    let in_time = [Taking { cancelled_on: Some(day("2024-03-10")), ..taking(1, "2024-03-04", "3") }, other];
    assert_eq!(left(&account(&enrolments, &work, &in_time), "2024-05-01"), "20");
    // Before its day it is as if it had never been.
    let ahead = Taking { cancelled_on: Some(day("2024-03-04")), ..taking(1, "2024-03-04", "3") };
    assert!(run(&account(&enrolments, &work, &[ahead]), "2024-05-01").entries.iter().all(|e| e.kind != EntryKind::Taken));
}

#[test]
fn a_day_cancelled_in_the_next_year_does_not_outlive_its_own() {
    let (enrolments, work) = (carried_into_march(), working("2023-01-01", vec![]));
    let cancelled = [Taking { cancelled_on: Some(day("2024-02-01")), ..taking(1, "2023-12-04", "18") }];
    // 2 are left and carried; the 18 come back in February as 3 that the rule still carries, and end in April with them.
    let account = account(&enrolments, &work, &cancelled);
    assert_eq!(
        (left(&account, "2024-01-31"), left(&account, "2024-02-01"), left(&account, "2024-04-01")),
        ("22".into(), "25".into(), "20".into())
    );
}

#[test]
fn days_cancelled_one_after_the_other_are_carried_up_to_the_limit_once() {
    let (enrolments, work) = (carried_into_march(), working("2023-01-01", vec![]));
    let cancelled = |n, on, text, day_of| Taking { cancelled_on: Some(day(day_of)), ..taking(n, on, text) };
    let both = [cancelled(1, "2023-12-04", "2", "2024-02-01"), cancelled(2, "2023-12-11", "16", "2024-02-02")];
    let account = account(&enrolments, &work, &both);
    let of_days = ["2024-01-31", "2024-02-01", "2024-02-02", "2024-04-01"].map(|on| left(&account, on));
    assert_eq!(of_days, ["22", "24", "25", "20"], "2, then 4, then 5 of the year before");
}

#[test]
fn what_has_an_end_of_its_own_is_not_carried_over() {
    let (enrolments, work) = (enrolled("2023-01-01", terms()), working("2023-01-01", vec![]));
    let id = events::leave::AdjustmentId::from_uuid(uuid::Uuid::nil());
    let gift = [Adjustment { id, on: day("2023-10-02"), amount: amount("4"), ends_on: Some(day("2024-03-01")), is_encashment: false }];
    let account = Account { adjustments: &gift, ..account(&enrolments, &work, &[]) };
    let of_days = ["2023-10-01", "2023-10-02", "2024-01-01", "2024-02-29", "2024-03-01"].map(|on| left(&account, on));
    assert_eq!(of_days, ["30", "34", "34", "34", "30"]);
}

#[test]
fn a_step_that_counts_as_a_whole_is_credited_once() {
    let mut work = working("2024-01-01", vec![]);
    let mut two = enrolled("2024-01-01", granting(yearly("25")));
    two[0].until = Some(day("2024-07-01"));
    let mut second = enrolled("2024-07-01", granting(yearly("30"))).remove(0);
    second.id = events::leave::EnrolmentId::from_uuid(uuid::Uuid::from_u128(10));
    two.push(second);
    let of_days = |account: &Account<'_>| ["2024-06-30", "2024-12-31", "2025-01-01"].map(|on| left(account, on));
    assert_eq!(of_days(&account(&two, &work, &[])), ["25", "25", "30"], "another policy from July");
    work.employments =
        vec![Employed { from: day("2024-01-01"), last_day: Some(day("2024-03-31")) }, Employed { from: day("2024-10-01"), last_day: None }];
    let one = enrolled("2024-01-01", granting(yearly("25")));
    assert_eq!(of_days(&account(&one, &work, &[])), ["25", "25", "25"], "left in March and came back in October");
    let by_days = enrolled("2024-01-01", LeavePolicyTerms { proration: Proration::Days, ..granting(yearly("36.6")) });
    assert_eq!(of_days(&account(&by_days, &work, &[])), ["9.1", "18.3", "36.6"], "91 days, and 92 more");
}

#[test]
fn a_step_that_began_before_the_person_is_divided() {
    let every = StepInterval::Months { count: 12, from: month_day("07-01") };
    let terms = LeavePolicyTerms {
        proration: Proration::Days,
        carry_over: carry("07-01", Carried::All, None),
        ..granting(steps("36.6", AllowancePeriod::Year, every, CreditTime::AtStart))
    };
    // 2023-07-01 to 2024-06-30 has 366 days; 113 of them are left on 10 March.
    let (enrolments, work) = (enrolled("2024-03-10", terms), working("2024-03-10", vec![]));
    let account = account(&enrolments, &work, &[]);
    assert_eq!((left(&account, "2024-03-10"), left(&account, "2024-07-01")), ("11.3".into(), "47.9".into()));
    // The fifteenth of the month before: 29 days, of which five are left on 10 March.
    let every = StepInterval::Months { count: 1, from: month_day("01-15") };
    let fifteenth =
        LeavePolicyTerms { proration: Proration::Days, ..granting(steps("29", AllowancePeriod::Step, every, CreditTime::AtStart)) };
    let enrolments = enrolled("2024-03-10", fifteenth);
    assert_eq!(left(&super::cases::account(&enrolments, &work, &[]), "2024-03-10"), "5");
    let weeks = granting(steps("1", AllowancePeriod::Step, StepInterval::Weeks { count: 2, from: day("2024-06-03") }, CreditTime::AtEnd));
    let enrolments = enrolled("2024-03-11", weeks);
    let credits = accrual::plan(&enrolments, &work, &[], day("2024-04-10")).unwrap();
    assert_eq!(credits.iter().map(|credit| credit.on).collect::<Vec<_>>(), [day("2024-03-25"), day("2024-04-08")]);
}

#[test]
fn an_advance_is_paid_back_first_and_is_never_more_than_the_limit() {
    let terms =
        LeavePolicyTerms { negative_limit: amount("3"), ..granting(steps("2", AllowancePeriod::Step, monthly(), CreditTime::AtStart)) };
    let (enrolments, work) = (enrolled("2024-01-01", terms), working("2024-01-01", vec![]));
    let takings = [taking(1, "2024-01-15", "5")];
    let ledger = run(&account(&enrolments, &work, &takings), "2024-02-29");
    assert_eq!((ledger.left().to_string(), ledger.advance.to_string(), ledger.shortfalls.len()), ("-1".into(), "1".into(), 0));
    assert!(ledger.lots.iter().all(|lot| !lot.left.is_negative()));
    let more = [taking(1, "2024-01-15", "5"), taking(2, "2024-02-15", "2.5")];
    let short = run(&account(&enrolments, &work, &more), "2024-03-31").shortfalls;
    assert_eq!(short, [ledger::Shortfall { on: day("2024-02-15"), missing: amount("0.5"), request: Some(request(2)) }]);
    // Cancelled after it has been paid back: what was paid comes back to the lots that paid.
    let back = [Taking { cancelled_on: Some(day("2024-04-15")), ..takings[0] }];
    let ledger = run(&account(&enrolments, &work, &back), "2024-04-30");
    assert_eq!((ledger.left().to_string(), ledger.advance), ("8".into(), Amount::ZERO));
}

#[test]
fn pending_is_shown_apart_and_the_future_is_computed() {
    let enrolments = enrolled("2024-01-01", granting(steps("2", AllowancePeriod::Step, monthly(), CreditTime::AtStart)));
    let work = working("2024-01-01", vec![]);
    let approved = [taking(1, "2024-02-05", "1"), taking(2, "2024-08-05", "3")];
    let on = |text: &str| balance::on(&account(&enrolments, &work, &approved), &[taking(3, "2024-09-02", "4")], day(text)).unwrap();
    let show = |b: Balance| [b.earned, b.taken, b.left, b.booked, b.pending].map(|a| a.to_string()).join(" ");
    assert_eq!(show(on("2024-03-31")), "6 1 5 3 4");
    assert_eq!(show(on("2024-12-31")), "24 4 20 0 4");
    assert_eq!(show(on("2023-12-31")), "0 0 0 4 4");
}

#[test]
fn posting_late_or_twice_or_after_a_correction_ends_in_the_same_entries() {
    let enrolments = enrolled(
        "2024-01-01",
        LeavePolicyTerms { proration: Proration::Days, ..granting(steps("2", AllowancePeriod::Step, monthly(), CreditTime::AtStart)) },
    );
    let mut work = working("2024-01-01", vec![]);
    let follows = |work: &WorkingTime, until: &str| run(&account(&enrolments, work, &[]), until).entries;
    let mut recorded: Vec<Entry> = Vec::new();
    for until in ["2024-01-01", "2024-02-10", "2024-02-10", "2025-06-30", "2025-06-30"] {
        recorded.extend(posting::due(&follows(&work, until), &recorded));
    }
    assert_eq!(posting::sums(&recorded), posting::sums(&follows(&work, "2025-06-30")));
    assert!(posting::due(&follows(&work, "2025-06-30"), &recorded).is_empty());
    // Later facts say that the person began later and has left.
    work.employments = vec![Employed { from: day("2024-01-16"), last_day: Some(day("2025-03-31")) }];
    let difference = posting::due(&follows(&work, "2025-06-30"), &recorded);
    recorded.extend(difference);
    let nonzero = |entries: &[Entry]| posting::sums(entries).into_iter().filter(|(_, sum)| !sum.is_zero()).collect::<Vec<_>>();
    assert_eq!(nonzero(&recorded), nonzero(&follows(&work, "2025-06-30")));
}

#[test]
fn terms_that_cannot_be_followed_are_refused_with_the_field() {
    let fault = |terms: LeavePolicyTerms| terms.check().map_or_else(|fault| fault.field(), |()| "fine");
    assert_eq!(fault(terms()), "fine");
    assert_eq!(fault(LeavePolicyTerms { tiers: vec![], ..terms() }), "/terms/tiers");
    assert_eq!(fault(LeavePolicyTerms { tiers: vec![ServiceTier { after_months: 6, grant: yearly("1") }], ..terms() }), "/terms/tiers");
    assert_eq!(fault(LeavePolicyTerms { change_over: ChangeOver::AtOnce, ..terms() }), "/terms/change_over");
    assert_eq!(fault(LeavePolicyTerms { rounding: Some(rounding("0", RoundingMode::Up)), ..terms() }), "/terms/rounding/to");
    assert_eq!(fault(LeavePolicyTerms { negative_limit: amount("-1"), ..terms() }), "/terms/negative_limit");
    assert_eq!(
        fault(granting(steps(
            "1",
            AllowancePeriod::Step,
            StepInterval::Months { count: 5, from: month_day("01-01") },
            CreditTime::AtStart
        ))),
        "/terms/tiers"
    );
    assert_eq!(
        fault(granting(steps("1", AllowancePeriod::Year, StepInterval::Weeks { count: 2, from: day("2024-01-01") }, CreditTime::AtStart))),
        "/terms/tiers"
    );
    assert_eq!(fault(granting(Grant::Rolling { amount: amount("1"), months: 0 })), "/terms/tiers");
}

#[test]
fn terms_survive_json() {
    let terms = LeavePolicyTerms { rounding: Some(rounding("0.5", RoundingMode::Up)), balance_cap: Some(amount("28")), ..terms() };
    let json = serde_json::to_string(&terms).unwrap();
    assert_eq!(serde_json::from_str::<LeavePolicyTerms>(&json).unwrap(), terms);
    assert!(serde_json::from_str::<LeavePolicyTerms>(&json.replace("\"unit\"", "\"units\"")).is_err());
}

#[test]
fn steps_of_the_last_of_a_month_do_not_drift() {
    let every = StepInterval::Months { count: 1, from: month_day("01-31") };
    let enrolments = enrolled("2023-01-31", granting(steps("1", AllowancePeriod::Step, every, CreditTime::AtStart)));
    let credits = accrual::plan(&enrolments, &working("2023-01-31", vec![]), &[], day("2023-05-31")).unwrap();
    let days: Vec<Date> = credits.iter().map(|credit| credit.on).collect();
    assert_eq!(days, ["2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31"].map(day));
}
