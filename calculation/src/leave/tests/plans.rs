//! Plans of any policy: what was credited up to a day does not depend on how far one looks, no credit takes away, and caps hold.

use events::leave::{
    AccrualSteps, Allowance, AllowancePeriod, Amount, Carried, ChangeOver, CreditTime, Grant, LeavePolicyTerms, Proration, RoundingMode,
    ServiceTier, StepInterval, WaitingTime, WorkFraction,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::fixtures::*;
use crate::leave::{
    FromDays, accrual,
    dates::add_days,
    ledger::{self, Account},
};

fn grants() -> impl Strategy<Value = Grant> {
    let count = prop_oneof![Just(1_u8), Just(3), Just(12)];
    let from = prop_oneof![Just("01-01"), Just("04-15"), Just("01-31"), Just("02-29")];
    let every = prop_oneof![
        3 => (count.clone(), from).prop_map(|(count, from)| StepInterval::Months { count, from: month_day(from) }),
        1 => count.prop_map(|count| StepInterval::ServiceMonths { count }),
        1 => (1..6_u8).prop_map(|count| StepInterval::Weeks { count, from: day("2024-01-01") }),
    ];
    let allowance = prop_oneof![
        (1..40_u16).prop_map(|amount| Allowance::Fixed { amount: Amount::from(amount) }),
        (1..7_u16).prop_map(|weeks| Allowance::Weeks { weeks: Amount::from(weeks), at_most: Some(amount("28")) }),
    ];
    let credit = prop_oneof![Just(CreditTime::AtStart), Just(CreditTime::AtEnd)];
    let per = prop_oneof![Just(AllowancePeriod::Year), Just(AllowancePeriod::Step)];
    (allowance, per, every, credit).prop_map(|(allowance, per, every, credit)| Grant::Steps(AccrualSteps { allowance, per, every, credit }))
}

fn policies() -> impl Strategy<Value = LeavePolicyTerms> {
    let proration =
        prop_oneof![Just(Proration::None), Just(Proration::Days), Just(Proration::MonthsBegun), Just(Proration::MonthsCompleted)];
    let change_over = prop_oneof![Just(ChangeOver::NextStep), Just(ChangeOver::AtOnce)];
    let mode = prop_oneof![Just(RoundingMode::Up), Just(RoundingMode::Down), Just(RoundingMode::HalfUp)];
    let caps = (proptest::option::of(5..30_u16), proptest::option::of(5..30_u16));
    (
        grants(),
        proptest::option::of((1..40_u16, grants())),
        proration,
        change_over,
        proptest::option::of(mode),
        caps,
        any::<bool>(),
        0..4_u16,
    )
        .prop_map(|(first, second, proration, change_over, mode, (balance, year), by_fraction, months)| {
            let mut tiers = vec![ServiceTier { after_months: 0, grant: first }];
            tiers.extend(second.map(|(after_months, grant)| ServiceTier { after_months, grant }));
            LeavePolicyTerms {
                tiers,
                proration,
                change_over,
                rounding: mode.map(|mode| rounding("0.5", mode)),
                balance_cap: balance.map(Amount::from),
                year_cap: year.map(Amount::from),
                by_fraction,
                wait_to_accrue: WaitingTime { months, days: 0 },
                carry_over: carry("01-01", Carried::UpTo { amount: amount("5") }, None),
                ..terms()
            }
        })
        .prop_filter("a policy that can be published", |terms| terms.check().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_past_does_not_depend_on_how_far_one_looks(
        terms in policies(), start in 0..800_i32, near in 0..1_200_i32, far in 0..800_i32, leaves in proptest::option::of(0..900_i32),
        part_time in 0..900_i32
    ) {
        let hired = add_days(day("2022-12-20"), start);
        let mut work = working(&hired.to_string(), vec![]);
        work.fraction = FromDays::since(add_days(hired, part_time), WorkFraction::new(Decimal::new(75, 2)).unwrap());
        work.schedule = work.schedule.then(add_days(hired, part_time), week("44 44 44 .. .. .. .."));
        work.employments[0].last_day = leaves.map(|after| add_days(hired, after));
        let enrolments = enrolled(&hired.to_string(), terms.clone());
        let (near, far) = (add_days(hired, near), add_days(hired, near + far));

        let credits = accrual::plan(&enrolments, &work, &[], far).unwrap();
        let until_near: Vec<_> = credits.iter().filter(|credit| credit.on <= near).copied().collect();
        prop_assert_eq!(&accrual::plan(&enrolments, &work, &[], near).unwrap(), &until_near);
        let mut years = std::collections::BTreeMap::<i16, Decimal>::new();
        for credit in &credits {
            prop_assert!(!credit.amount.is_negative() && !credit.exact.is_negative(), "{credit:?}");
            *years.entry(credit.accrued.0.year()).or_default() += credit.amount.decimal();
        }
        if let Some(cap) = terms.year_cap {
            prop_assert!(years.values().all(|sum| *sum <= cap.decimal()), "{years:?}");
        }

        let account = Account { enrolments: &enrolments, work: &work, hours: &[], takings: &[], adjustments: &[] };
        let ledger = ledger::run(&account, far).unwrap();
        let until_near: Vec<_> = ledger.entries.iter().filter(|entry| entry.on <= near).copied().collect();
        prop_assert_eq!(&ledger::run(&account, near).unwrap().entries, &until_near);
        if let Some(cap) = terms.balance_cap {
            prop_assert!(ledger.left() <= cap, "{} is left", ledger.left());
        }
        let mut keys: Vec<_> = ledger.entries.iter().map(crate::leave::posting::key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        prop_assert_eq!(count, keys.len(), "a key stands twice");
    }
}
