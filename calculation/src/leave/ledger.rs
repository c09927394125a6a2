//! The account of one person and one kind of leave: lots, and the entries that change them.
//!
//! [`run`] goes through the days on which something happens. On each day: lots end, the old year is carried over, credits
//! come, cancelled days come back, leave is taken. Lots are used by earliest end. What is taken beyond all lots is taken in
//! advance, which is no lot: credits pay it back before anything else. So no lot is ever below nothing.

use std::collections::BTreeMap;

use events::leave::{AdjustmentId, Amount, Carried, CarryOver, Cause, Entry, EntryBasis, EntryKind, LeaveRequestId, LotEnd, LotKey};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{
    Enrolment, WorkingTime,
    accrual::{self, HoursWorked, PlanFault, PlannedCredit},
    dates::{add_days, add_months},
};

/// A day of a request, as far as it costs anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taking {
    /// The request.
    pub request: LeaveRequestId,
    /// The day.
    pub on: Date,
    /// What it costs.
    pub amount: Amount,
    /// The day on which it was cancelled, if it was. A day that was still ahead then is not taken at all; one that was past
    /// comes back on that day.
    pub cancelled_on: Option<Date>,
}

/// An amount that somebody added or took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjustment {
    /// Its id.
    pub id: AdjustmentId,
    /// From when it counts.
    pub on: Date,
    /// How much, negative where it takes away.
    pub amount: Amount,
    /// The first day on which what is left of it is gone; none if it stays.
    pub ends_on: Option<Date>,
    /// Whether it was paid out.
    pub is_encashment: bool,
}

/// All that an account follows from.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// The enrolments in policies of this kind of leave, earliest first, without overlap.
    pub enrolments: &'a [Enrolment],
    /// The person's work.
    pub work: &'a WorkingTime,
    /// Hours worked, where the policy asks for them.
    pub hours: &'a [HoursWorked],
    /// What is taken.
    pub takings: &'a [Taking],
    /// What was added or taken away by hand.
    pub adjustments: &'a [Adjustment],
}

/// A lot with what is left in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// Its name.
    pub key: LotKey,
    /// Its first day.
    pub from: Date,
    /// The first day without it; none if it stays until the year ends.
    pub ends_on: Option<Date>,
    /// What is left.
    pub left: Amount,
}

/// A day on which more is taken than the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// The day.
    pub on: Date,
    /// How much is missing on it.
    pub missing: Amount,
    /// The request that takes it, if it is one.
    pub request: Option<LeaveRequestId>,
}

/// The account up to a day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The entries, in the order of the days from which they count.
    pub entries: Vec<Entry>,
    /// The lots, in the order in which they came; empty ones, too.
    pub lots: Vec<Lot>,
    /// What is taken in advance.
    pub advance: Amount,
    /// Where the limit is broken, earliest first.
    pub shortfalls: Vec<Shortfall>,
}

impl Ledger {
    /// The sum of all entries: what is left, less what is taken in advance.
    pub fn left(&self) -> Amount {
        Amount::computed(self.entries.iter().map(|entry| entry.amount.decimal()).sum())
    }
    /// The lot that ends next after a day, and how much ends with it; lots that end on one day are one.
    pub fn ends_next(&self) -> Option<(Date, Amount)> {
        let ending = || self.lots.iter().filter(|lot| lot.left.is_positive()).filter_map(|lot| Some((lot.ends_on?, lot.left.decimal())));
        let first = ending().map(|(on, _)| on).min()?;
        Some((first, Amount::computed(ending().filter(|(on, _)| *on == first).map(|(_, left)| left).sum())))
    }
}

/// What happens on a day, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    End,
    CarryOver,
    Credit,
    Return,
    Take,
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    End(usize),
    CarryOver(CarryOver),
    Credit(PlannedCredit),
    Add(Adjustment),
    Return(Taking),
    Take(Taking),
    Remove(Adjustment),
}

/// Goes through all days up to and including one.
pub fn run(account: &Account<'_>, until: Date) -> Result<Ledger, PlanFault> {
    let credits = accrual::plan(account.enrolments, account.work, account.hours, until)?;
    let mut run =
        Run { account, ledger: Ledger::default(), agenda: BTreeMap::new(), number: 0, advance: Decimal::ZERO, closings: Vec::new() };
    for on in year_starts(account.enrolments, until) {
        run.schedule(on.0, Order::CarryOver, Happening::CarryOver(on.1));
    }
    for credit in credits {
        run.schedule(credit.on, Order::Credit, Happening::Credit(credit));
    }
    for adjustment in account.adjustments {
        if adjustment.amount.is_positive() {
            run.schedule(adjustment.on, Order::Credit, Happening::Add(*adjustment));
        } else {
            run.schedule(adjustment.on, Order::Take, Happening::Remove(*adjustment));
        }
    }
    for taking in account.takings.iter().filter(|taking| !taking.amount.is_zero()) {
        match taking.cancelled_on {
            Some(day) if day <= taking.on => {}
            Some(day) => {
                run.schedule(taking.on, Order::Take, Happening::Take(*taking));
                run.schedule(day, Order::Return, Happening::Return(*taking));
            }
            None => run.schedule(taking.on, Order::Take, Happening::Take(*taking)),
        }
    }
    while let Some(((on, _, _), happening)) = run.agenda.pop_first() {
        if on > until {
            break;
        }
        run.happen(on, happening);
    }
    run.ledger.advance = Amount::computed(run.advance);
    Ok(run.ledger)
}

/// The first days of leave years up to a day, each with the rules under which the year before it is closed: those in force on
/// its last day.
fn year_starts(enrolments: &[Enrolment], until: Date) -> BTreeMap<Date, CarryOver> {
    let mut starts = BTreeMap::new();
    for enrolment in enrolments {
        for version in &enrolment.versions {
            let rule = version.terms.carry_over;
            let mut day = rule.year_starts.after(version.from.max(enrolment.from));
            while day <= until {
                let eve = add_days(day, -1);
                if enrolment.version_on(eve).is_some_and(|held| held.version == version.version) {
                    starts.insert(day, rule);
                }
                let next = rule.year_starts.after(day);
                if next <= day {
                    break;
                }
                day = next;
            }
        }
    }
    starts
}

struct Run<'a> {
    account: &'a Account<'a>,
    ledger: Ledger,
    agenda: BTreeMap<(Date, Order, usize), Happening>,
    number: usize,
    advance: Decimal,
    closings: Vec<Closing>,
}

/// A leave year that was closed.
#[derive(Debug, Clone, Copy)]
struct Closing {
    /// The first day of the year after it.
    into: Date,
    rule: CarryOver,
    /// What was left at its end.
    whole: Decimal,
}

impl Closing {
    /// What is carried of so much: what ends, and what stays for good.
    fn carried(&self, whole: Decimal) -> (Decimal, Decimal) {
        let carried = match self.rule.carried {
            Carried::Nothing => Decimal::ZERO,
            Carried::All => whole,
            Carried::UpTo { amount } => whole.min(amount.decimal()),
        };
        let for_good = if self.rule.ends.is_none() { carried } else { carried.min(self.rule.for_good.decimal()) };
        (carried - for_good, for_good)
    }
    /// The first day on which what was carried is gone.
    fn ends(&self) -> Option<Date> {
        self.rule.ends.map(|end| match end {
            LotEnd::On { day } => day.after(add_days(self.into, -1)),
            LotEnd::AfterMonths { months } => add_months(self.into, i32::from(months)),
        })
    }
}

impl Run<'_> {
    fn schedule(&mut self, on: Date, order: Order, happening: Happening) {
        self.agenda.insert((on, order, self.number), happening);
        self.number += 1;
    }

    fn happen(&mut self, on: Date, happening: Happening) {
        match happening {
            Happening::End(lot) => self.end(on, lot),
            Happening::CarryOver(rule) => self.carry_over(on, rule),
            Happening::Credit(credit) => self.credit(credit),
            Happening::Add(a) => {
                let (lot, cause) = (LotKey::Adjustment { id: a.id }, Cause::Adjustment { id: a.id });
                self.open(on, lot, a.ends_on, a.amount.decimal(), EntryKind::Adjusted, cause, EntryBasis::Plain);
            }
            Happening::Return(taking) => self.give_back(on, &taking),
            Happening::Take(t) => {
                let cause = Cause::Request { id: t.request, day: t.on };
                self.take(on, t.amount.decimal(), EntryKind::Taken, cause, Some(t.request));
            }
            Happening::Remove(a) => {
                let (kind, cause) = if a.is_encashment {
                    (EntryKind::Encashed, Cause::Encashment { id: a.id })
                } else {
                    (EntryKind::Adjusted, Cause::Adjustment { id: a.id })
                };
                self.take(on, -a.amount.decimal(), kind, cause, None);
            }
        }
    }

    fn enter(&mut self, on: Date, kind: EntryKind, cause: Cause, lot: Option<LotKey>, amount: Decimal, why: EntryBasis) {
        self.ledger.entries.push(Entry { on, kind, cause, lot, amount: Amount::computed(amount), why });
    }

    fn balance(&self) -> Decimal {
        self.ledger.lots.iter().map(|lot| lot.left.decimal()).sum::<Decimal>() - self.advance
    }

    /// Opens a lot, or adds to it; what was taken in advance is paid back from it first.
    #[expect(clippy::too_many_arguments, reason = "an entry and its lot are described whole")]
    fn open(&mut self, on: Date, key: LotKey, ends_on: Option<Date>, amount: Decimal, kind: EntryKind, cause: Cause, why: EntryBasis) {
        self.enter(on, kind, cause, Some(key), amount, why);
        let repaid = amount.min(self.advance);
        if repaid > Decimal::ZERO {
            self.advance -= repaid;
            self.enter(on, EntryKind::Repaid, cause, Some(key), -repaid, EntryBasis::Plain);
            self.enter(on, EntryKind::Repaid, cause, None, repaid, EntryBasis::Plain);
        }
        let left = Amount::computed(amount - repaid);
        self.ledger.lots.push(Lot { key, from: on, ends_on, left });
        if let Some(end) = ends_on {
            self.schedule(end.max(on), Order::End, Happening::End(self.ledger.lots.len() - 1));
        }
    }

    fn credit(&mut self, credit: PlannedCredit) {
        let cap = Enrolment::version_among(self.account.enrolments, credit.accrued.0).and_then(|version| version.terms.balance_cap);
        let whole = credit.amount.decimal();
        let room = cap.map_or(whole, |cap| (cap.decimal() - self.balance()).max(Decimal::ZERO));
        let amount = whole.min(room);
        let why = EntryBasis::Step {
            period_from: credit.period.0,
            period_to: credit.period.1,
            accrued_from: credit.accrued.0,
            accrued_to: credit.accrued.1,
            proration: credit.proration,
            exact: credit.exact,
            capped: Amount::computed(credit.capped.decimal() + whole - amount),
            policy_version: credit.version,
        };
        let (enrolment, from) = (credit.enrolment, credit.accrued.0);
        self.open(credit.on, LotKey::Step { enrolment, from }, None, amount, EntryKind::Accrued, Cause::Step { enrolment, from }, why);
    }

    fn end(&mut self, on: Date, at: usize) {
        let Some(lot) = self.ledger.lots.get_mut(at) else { return };
        let (key, left) = (lot.key, std::mem::take(&mut lot.left));
        if left.is_positive() {
            self.enter(on, EntryKind::Expired, Cause::LotEnd { on }, Some(key), -left.decimal(), EntryBasis::Plain);
        }
    }

    /// Closes the lots that have no end of their own and opens those of the new year with what the rule carries.
    fn carry_over(&mut self, into: Date, rule: CarryOver) {
        let is_open = |lot: &Lot| lot.ends_on.is_none() && lot.left.is_positive();
        let open: Vec<usize> = self.ledger.lots.iter().enumerate().filter(|(_, lot)| is_open(lot)).map(|(at, _)| at).collect();
        let whole: Decimal = open.iter().map(|at| self.ledger.lots[*at].left.decimal()).sum();
        let closing = Closing { into, rule, whole };
        self.closings.push(closing);
        let (ending, for_good) = closing.carried(whole);
        // The oldest lots are used first, so what is beyond the limit is of the oldest.
        let mut beyond = whole - ending - for_good;
        let cause = Cause::YearEnd { into };
        for at in open {
            let forfeited = self.ledger.lots[at].left.decimal().min(beyond);
            beyond -= forfeited;
            self.close(into, at, forfeited, cause);
        }
        for (for_good, amount, ends_on) in [(false, ending, closing.ends()), (true, for_good, None)] {
            if amount > Decimal::ZERO {
                let key = LotKey::Carried { into, for_good };
                self.open(into, key, ends_on, amount, EntryKind::CarriedIn, cause, EntryBasis::Plain);
            }
        }
    }

    /// Empties a lot at the end of its year: so much is forfeited, the rest goes out.
    fn close(&mut self, on: Date, at: usize, forfeited: Decimal, cause: Cause) {
        let lot = &mut self.ledger.lots[at];
        let (key, left) = (lot.key, std::mem::take(&mut lot.left).decimal());
        if forfeited > Decimal::ZERO {
            self.enter(on, EntryKind::Forfeited, cause, Some(key), -forfeited, EntryBasis::Plain);
        }
        if left > forfeited {
            self.enter(on, EntryKind::CarriedOut, cause, Some(key), forfeited - left, EntryBasis::Plain);
        }
    }

    fn take(&mut self, on: Date, amount: Decimal, kind: EntryKind, cause: Cause, request: Option<LeaveRequestId>) {
        let mut rest = amount;
        let mut order: Vec<usize> = (0..self.ledger.lots.len()).filter(|at| self.ledger.lots[*at].left.is_positive()).collect();
        order.sort_by_key(|at| {
            let lot = &self.ledger.lots[*at];
            (lot.ends_on.is_none(), lot.ends_on, lot.from, lot.key)
        });
        for at in order {
            let lot = &mut self.ledger.lots[at];
            let used = lot.left.decimal().min(rest);
            if used <= Decimal::ZERO {
                break;
            }
            lot.left = Amount::computed(lot.left.decimal() - used);
            rest -= used;
            let key = lot.key;
            self.enter(on, kind, cause, Some(key), -used, EntryBasis::Plain);
        }
        if rest > Decimal::ZERO {
            self.advance += rest;
            self.enter(on, kind, cause, None, -rest, EntryBasis::Plain);
            let limit = Enrolment::version_among(self.account.enrolments, on).map_or(Decimal::ZERO, |v| v.terms.negative_limit.decimal());
            if self.advance > limit {
                let missing = Amount::computed(self.advance - limit);
                self.ledger.shortfalls.push(Shortfall { on, missing, request });
            }
        }
    }

    /// Gives a taking back to the lots that it was taken from. What has ended meanwhile ends again; what went into the next
    /// year meanwhile goes there again.
    fn give_back(&mut self, on: Date, taking: &Taking) {
        let cause = Cause::Request { id: taking.request, day: taking.on };
        let of_taking = |entry: &&Entry| entry.cause == cause && entry.kind == EntryKind::Taken;
        let taken: Vec<(Option<LotKey>, Decimal)> =
            self.ledger.entries.iter().filter(of_taking).map(|entry| (entry.lot, -entry.amount.decimal())).collect();
        for (key, amount) in taken {
            let lot = key.and_then(|key| self.ledger.lots.iter().position(|lot| lot.key == key));
            match lot {
                Some(at) => self.give_back_to(on, at, amount, cause),
                None => self.give_back_advance(on, amount, cause),
            }
        }
    }

    fn give_back_to(&mut self, on: Date, at: usize, amount: Decimal, cause: Cause) {
        let lot = &mut self.ledger.lots[at];
        let key = lot.key;
        lot.left = Amount::computed(lot.left.decimal() + amount);
        self.enter(on, EntryKind::Returned, cause, Some(key), amount, EntryBasis::Plain);
        self.settle(on, at, amount, cause);
    }

    /// What becomes of an amount that came late into a lot: with a lot that has ended it ends; of a year that was closed it is
    /// carried as if it had been there; otherwise it stays, and pays back what was taken in advance.
    fn settle(&mut self, on: Date, at: usize, amount: Decimal, cause: Cause) {
        let lot = self.ledger.lots[at];
        if lot.ends_on.is_some_and(|end| end <= on) {
            self.end(on, at);
        } else if let Some(closed) = self.closings.iter().position(|c| lot.ends_on.is_none() && c.into > lot.from) {
            self.carry_late(on, at, closed, cause);
        } else {
            let repaid = amount.min(self.advance);
            if repaid > Decimal::ZERO {
                self.advance -= repaid;
                self.ledger.lots[at].left = Amount::computed(lot.left.decimal() - repaid);
                self.enter(on, EntryKind::Repaid, cause, Some(lot.key), -repaid, EntryBasis::Plain);
                self.enter(on, EntryKind::Repaid, cause, None, repaid, EntryBasis::Plain);
            }
        }
    }

    fn carry_late(&mut self, on: Date, at: usize, closed: usize, cause: Cause) {
        let closing = self.closings[closed];
        let late = self.ledger.lots[at].left.decimal();
        self.closings[closed].whole += late;
        let (before, after) = (closing.carried(closing.whole), closing.carried(closing.whole + late));
        let more = [(false, after.0 - before.0, closing.ends()), (true, after.1 - before.1, None)];
        let carried: Decimal = more.iter().map(|(_, amount, _)| *amount).sum();
        self.close(on, at, late - carried, cause);
        for (for_good, amount, ends_on) in more {
            if amount <= Decimal::ZERO {
                continue;
            }
            let key = LotKey::Carried { into: closing.into, for_good };
            let lot = self.ledger.lots.iter().position(|lot| lot.key == key).unwrap_or_else(|| {
                self.ledger.lots.push(Lot { key, from: closing.into, ends_on, left: Amount::ZERO });
                if let Some(end) = ends_on.filter(|end| *end > on) {
                    self.schedule(end, Order::End, Happening::End(self.ledger.lots.len() - 1));
                }
                self.ledger.lots.len() - 1
            });
            self.ledger.lots[lot].left = Amount::computed(self.ledger.lots[lot].left.decimal() + amount);
            self.enter(on, EntryKind::CarriedIn, cause, Some(key), amount, EntryBasis::Plain);
            self.settle(on, lot, amount, cause);
        }
    }

    /// What was taken in advance is no longer owed. Where credits have paid it back already, it comes back as they were: to the
    /// lots that paid.
    fn give_back_advance(&mut self, on: Date, amount: Decimal, cause: Cause) {
        let owed = amount.min(self.advance);
        self.advance -= owed;
        if owed > Decimal::ZERO {
            self.enter(on, EntryKind::Returned, cause, None, owed, EntryBasis::Plain);
        }
        let mut rest = amount - owed;
        let paid: Vec<LotKey> = self.ledger.entries.iter().rev().filter(|e| e.kind == EntryKind::Repaid).filter_map(|e| e.lot).collect();
        for key in paid {
            if rest <= Decimal::ZERO {
                return;
            }
            let of_lot = |entry: &&Entry| entry.kind == EntryKind::Repaid && entry.lot == Some(key);
            let repaid: Decimal = -self.ledger.entries.iter().filter(of_lot).map(|entry| entry.amount.decimal()).sum::<Decimal>();
            let back = repaid.min(rest);
            if let Some(at) = self.ledger.lots.iter().position(|lot| lot.key == key).filter(|_| back > Decimal::ZERO) {
                rest -= back;
                self.give_back_to(on, at, back, cause);
            }
        }
    }
}
