//! The balance of any day, past or future, with what is pending shown apart.

use events::leave::{Amount, EntryKind, Grant};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{
    Enrolment,
    accrual::PlanFault,
    ledger::{self, Account, Taking},
    rolling,
};

/// How an account stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// The day.
    pub on: Date,
    /// What was credited up to the day.
    pub earned: Amount,
    /// What was added or taken away by hand, payments left out.
    pub adjusted: Amount,
    /// What was paid out.
    pub encashed: Amount,
    /// What ended or was not carried over.
    pub lost: Amount,
    /// What was approved for days up to this one, less what came back.
    pub taken: Amount,
    /// What is left: all of the above together; of a rolling entitlement, what the stretch that ends with the day leaves.
    pub left: Amount,
    /// What is approved for later days.
    pub booked: Amount,
    /// What is asked for and not decided, whatever the day.
    pub pending: Amount,
    /// What ends next, and the first day without it.
    pub ends_next: Option<(Date, Amount)>,
}

/// The balance of a day. `account` has the approved requests, `pending` the days of those that nobody has decided.
pub fn on(account: &Account<'_>, pending: &[Taking], day: Date) -> Result<Balance, PlanFault> {
    let ledger = ledger::run(account, day)?;
    let sum = |kinds: &[EntryKind]| -> Amount {
        let of_kinds = ledger.entries.iter().filter(|entry| kinds.contains(&entry.kind));
        Amount::computed(of_kinds.map(|entry| entry.amount.decimal()).sum())
    };
    let negated = |kinds: &[EntryKind]| Amount::computed(-sum(kinds).decimal());
    let total = |takings: &[Taking], after: Option<Date>| -> Amount {
        let live = takings.iter().filter(|taking| taking.cancelled_on.is_none() && after.is_none_or(|after| taking.on > after));
        Amount::computed(live.map(|taking| taking.amount.decimal()).sum::<Decimal>())
    };
    let left = match Enrolment::grant_among(account.enrolments, account.work, day) {
        Some(Grant::Rolling { amount, months }) => rolling::left(*amount, *months, account.takings, day),
        Some(Grant::Nothing | Grant::Steps(_) | Grant::PerHourWorked { .. }) | None => ledger.left(),
    };
    Ok(Balance {
        on: day,
        earned: sum(&[EntryKind::Accrued]),
        adjusted: sum(&[EntryKind::Adjusted]),
        encashed: negated(&[EntryKind::Encashed]),
        lost: negated(&[EntryKind::Expired, EntryKind::Forfeited]),
        taken: negated(&[EntryKind::Taken, EntryKind::Returned]),
        left,
        booked: total(account.takings, Some(day)),
        pending: total(pending, None),
        ends_next: ledger.ends_next(),
    })
}
