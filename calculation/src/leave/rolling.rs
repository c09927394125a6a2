//! Entitlements that look back: so much in any stretch of months that ends on the day. They have no lots; what was taken in
//! the stretch is counted.

use events::leave::Amount;
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{dates::add_months, ledger::Taking};

/// What is left on a day of an entitlement to `amount` in any so many months. The stretch ends with the day; a day that lies
/// just so many months back is outside it.
pub fn left(amount: Amount, months: u8, takings: &[Taking], day: Date) -> Amount {
    let after = add_months(day, -i32::from(months));
    let counts = |taking: &&Taking| taking.cancelled_on.is_none() && taking.on > after && taking.on <= day;
    let taken: Decimal = takings.iter().filter(counts).map(|taking| taking.amount.decimal()).sum();
    Amount::computed(amount.decimal() - taken)
}

/// The first day on which more is taken than the entitlement leaves.
pub fn first_shortfall(amount: Amount, months: u8, takings: &[Taking]) -> Option<Date> {
    let mut days: Vec<Date> = takings.iter().filter(|taking| taking.cancelled_on.is_none()).map(|taking| taking.on).collect();
    days.sort_unstable();
    days.dedup();
    days.into_iter().find(|day| left(amount, months, takings, *day).is_negative())
}
