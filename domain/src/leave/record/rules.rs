//! One person's leave of all kinds: enrolments, requests, adjustments and what was recorded of the accounts.
//!
//! One stream holds it, because its rules span it: no two live requests share a half of a day, whatever their kind, and no
//! account goes below its limit on any day, counting pending requests. Of two requests for one balance the second is decided
//! on the first, and its refusal names what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use calculation::leave::{
    Enrolment, WorkingTime,
    accrual::{HoursWorked, PlanFault},
    costing::{self, CostRefusal},
    ledger::{self, Account, Adjustment, Ledger, Taking},
    posting, rolling,
};
use events::{
    EmployeeId, Personal,
    leave::{
        AdjustmentId, Amount, Cause, DayAsked, DayCost, EnrolmentId, Entry, EntryKind, Grant, LeavePolicyId, LeaveRequestId,
        LeaveTypeClass, LeaveTypeId, PolicyVersion, PostingId,
        record::{
            EnrolmentEnded, LeaveAccrued, LeaveAdjusted, LeaveAdjustmentBooked, LeaveApproved, LeaveCancellationRefused,
            LeaveCancellationRequested, LeaveCancelled, LeaveCarriedOver, LeaveEncashed, LeaveLotExpired, LeavePostingScheduled,
            LeaveRecordEvent, LeaveRecosted, LeaveRejected, LeaveRequested, LeaveTaken, LeaveWithdrawn, PersonEnrolled,
        },
    },
};
use jiff::civil::Date;

/// What can be asked of a person's leave. `today` is the civil day at the place of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordCommand {
    /// Let a person's leave of a kind follow a policy.
    Enrol {
        /// The enrolment.
        enrolment_id: EnrolmentId,
        /// The kind of leave.
        type_id: LeaveTypeId,
        /// Who may know of it.
        class: LeaveTypeClass,
        /// The policy.
        policy_id: LeavePolicyId,
        /// The first day.
        from: Date,
        /// The first day without it.
        until: Option<Date>,
    },
    /// End an enrolment.
    EndEnrolment {
        /// The enrolment.
        enrolment_id: EnrolmentId,
        /// The first day without it.
        until: Date,
    },
    /// Ask for leave.
    Request {
        /// The request.
        request_id: LeaveRequestId,
        /// The kind of leave.
        type_id: LeaveTypeId,
        /// The days.
        days: Vec<DayAsked>,
        /// What the person says about it.
        note: Option<String>,
    },
    /// Take a request back that is not decided.
    Withdraw(LeaveRequestId),
    /// Approve a request.
    Approve(LeaveRequestId),
    /// Reject a request.
    Reject(LeaveRequestId, String),
    /// Let leave stand although its cancellation was asked for.
    RefuseToCancel(LeaveRequestId, String),
    /// Ask for leave to be cancelled that is approved.
    AskToCancel(LeaveRequestId),
    /// Cancel leave.
    Cancel {
        /// The request.
        request_id: LeaveRequestId,
        /// The day of it.
        today: Date,
    },
    /// Cost a request anew.
    Recost {
        /// The request.
        request_id: LeaveRequestId,
        /// The day of it.
        today: Date,
    },
    /// Add leave, or take some away.
    Adjust {
        /// The adjustment.
        adjustment_id: AdjustmentId,
        /// The kind of leave.
        type_id: LeaveTypeId,
        /// From when it counts.
        on: Date,
        /// How much.
        amount: Amount,
        /// The first day on which what is left of it is gone.
        ends_on: Option<Date>,
        /// Why.
        reason: String,
    },
    /// Pay leave out.
    Encash {
        /// The payment.
        encashment_id: AdjustmentId,
        /// The kind of leave.
        type_id: LeaveTypeId,
        /// The day.
        on: Date,
        /// How much.
        amount: Amount,
    },
    /// Record what is due up to a day.
    Post {
        /// The kind of leave.
        type_id: LeaveTypeId,
        /// The last day that is over or has begun.
        up_to: Date,
        /// Names what is recorded.
        posting_id: PostingId,
    },
    /// Bring all that follows from others up to date: what requests cost, what is due to be recorded, and when more will be.
    Settle {
        /// The day of it.
        today: Date,
        /// Names what is recorded.
        posting_id: PostingId,
    },
}

/// What a record's rules need of others.
#[derive(Debug, Clone, Default)]
pub struct RecordFacts {
    /// The person's work.
    pub work: WorkingTime,
    /// The versions of the policies that the person is or shall be enrolled in.
    pub versions: BTreeMap<LeavePolicyId, Vec<PolicyVersion>>,
    /// Hours worked, by kind of leave that they earn.
    pub hours: BTreeMap<LeaveTypeId, Vec<HoursWorked>>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Not decided.
    Pending,
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Taken back before it was decided.
    Withdrawn,
    /// Approved, and asked to be cancelled.
    CancellationRequested,
    /// Cancelled on a day.
    Cancelled(Date),
}

impl RequestStatus {
    /// Whether the request holds its days.
    pub const fn is_live(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::CancellationRequested => true,
            Self::Rejected | Self::Withdrawn | Self::Cancelled(_) => false,
        }
    }
}

/// Why something about a person's leave was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    /// There is no such request, enrolment or kind of leave.
    #[error("there is no such leave request, enrolment or account")]
    NotFound,
    /// The id is taken by something else.
    #[error("this id was used with other particulars; choose another id")]
    AlreadyExists,
    /// Nobody published the policy.
    #[error("policy_id names no policy; send one that this tenant has")]
    UnknownPolicy,
    /// There is no such person.
    #[error("there is no such person")]
    UnknownPerson,
    /// The policy begins later.
    #[error("the policy has no version on {0}; enrol from a later day, or publish a version that begins earlier")]
    PolicyGap(Date),
    /// Another enrolment covers some of the days.
    #[error("the person is enrolled for this kind of leave from {from}; end that enrolment first, or choose other days")]
    Overlaps {
        /// The other enrolment.
        enrolment: EnrolmentId,
        /// Its first day.
        from: Date,
    },
    /// It would end before it begins.
    #[error("until is the first day without the enrolment and must be after {0}, its first day")]
    EndsBeforeStart(Date),
    /// Leave is asked for or approved on days that the enrolment would no longer cover.
    #[error("a request for {on} stands in the way; cancel or withdraw it first, or end the enrolment later")]
    RequestStands {
        /// The first such day.
        on: Date,
        /// The request.
        by: LeaveRequestId,
    },
    /// The days can't be asked for.
    #[error(transparent)]
    Days(#[from] CostRefusal),
    /// Another live request holds a half of a day.
    #[error("{on} is taken by another request; withdraw or cancel that, or choose another day")]
    DayTaken {
        /// The day.
        on: Date,
        /// The request that holds it.
        by: LeaveRequestId,
    },
    /// The balance does not suffice.
    #[error(
        "on {on} {missing} are missing, counting all requests that are pending or approved{}; choose fewer or later days",
        beside(others)
    )]
    NotEnough {
        /// The day.
        on: Date,
        /// How much.
        missing: Amount,
        /// The later request that would be left without, where it is not this one.
        request: Option<LeaveRequestId>,
        /// Some of the requests that stand beside it, for the same kind of leave.
        others: Vec<LeaveRequestId>,
    },
    /// The request stands otherwise.
    #[error("the request does not stand so that this can be done: it is {0:?}")]
    WrongStatus(RequestStatus),
    /// The policy pays nothing out.
    #[error("the policy does not allow leave to be paid out")]
    NotEncashable,
    /// Nothing, or less.
    #[error("the amount must be above 0")]
    NotPositive,
    /// An adjustment by nothing.
    #[error("the amount must not be 0")]
    Zero,
    /// An end that comes first.
    #[error("ends_on is the first day without it and must be after {0}")]
    EndsBeforeItCounts(Date),
    /// The account can't be computed.
    #[error(transparent)]
    Plan(#[from] PlanFault),
}

fn beside(others: &[LeaveRequestId]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let ids: Vec<String> = others.iter().map(LeaveRequestId::to_string).collect();
    format!(", such as {}", ids.join(", "))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct EnrolmentRow {
    id: EnrolmentId,
    type_id: LeaveTypeId,
    class: LeaveTypeClass,
    policy_id: LeavePolicyId,
    from: Date,
    until: Option<Date>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    type_id: LeaveTypeId,
    days: Vec<DayCost>,
    status: RequestStatus,
}

/// A person's leave, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaveRecord {
    enrolments: Vec<EnrolmentRow>,
    requests: BTreeMap<LeaveRequestId, Request>,
    adjustments: BTreeMap<AdjustmentId, (LeaveTypeId, Adjustment)>,
    recorded: BTreeMap<LeaveTypeId, Vec<Entry>>,
    next_posting: Option<Date>,
}

/// Which requests an account counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Approved ones only.
    Approved,
    /// Pending ones, too.
    AlsoPending,
}

impl LeaveRecord {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, person: EmployeeId, command: &RecordCommand, facts: &RecordFacts) -> Result<Vec<LeaveRecordEvent>, RecordRefusal> {
        let employee_id = person;
        match command {
            RecordCommand::Enrol { enrolment_id, type_id, class, policy_id, from, until } => {
                let (id, type_id, class, policy_id, from, until) = (*enrolment_id, *type_id, *class, *policy_id, *from, *until);
                self.enrol(person, &EnrolmentRow { id, type_id, class, policy_id, from, until }, facts)
            }
            RecordCommand::EndEnrolment { enrolment_id, until } => {
                if !self.end_enrolment(*enrolment_id, *until)? {
                    return Ok(Vec::new());
                }
                Ok(vec![EnrolmentEnded { employee_id, enrolment_id: *enrolment_id, until: *until }.into()])
            }
            RecordCommand::Request { request_id, type_id, days, note } => {
                let Some(days) = self.request(*request_id, *type_id, days, facts)? else { return Ok(Vec::new()) };
                let (request_id, type_id, class, note) = (*request_id, *type_id, self.class_of(*type_id), Personal::Clear(note.clone()));
                Ok(vec![LeaveRequested { employee_id, request_id, type_id, class, days, note }.into()])
            }
            RecordCommand::Withdraw(request_id) => {
                let event = LeaveWithdrawn { employee_id, request_id: *request_id };
                self.step(*request_id, &[RequestStatus::Pending], |status| status == RequestStatus::Withdrawn, event)
            }
            RecordCommand::Approve(request_id) => {
                self.check_cover(*request_id, facts)?;
                let event = LeaveApproved { employee_id, request_id: *request_id };
                self.step(*request_id, &[RequestStatus::Pending], |status| status == RequestStatus::Approved, event)
            }
            RecordCommand::Reject(request_id, reason) => {
                let event = LeaveRejected { employee_id, request_id: *request_id, reason: Personal::Clear(reason.clone()) };
                self.step(*request_id, &[RequestStatus::Pending], |status| status == RequestStatus::Rejected, event)
            }
            RecordCommand::RefuseToCancel(request_id, reason) => {
                let event = LeaveCancellationRefused { employee_id, request_id: *request_id, reason: Personal::Clear(reason.clone()) };
                self.step(*request_id, &[RequestStatus::CancellationRequested], |status| status == RequestStatus::Approved, event)
            }
            RecordCommand::AskToCancel(request_id) => {
                let event = LeaveCancellationRequested { employee_id, request_id: *request_id };
                self.step(*request_id, &[RequestStatus::Approved], |status| status == RequestStatus::CancellationRequested, event)
            }
            RecordCommand::Cancel { request_id, today } => {
                let event = LeaveCancelled { employee_id, request_id: *request_id, on: *today };
                let from = [RequestStatus::Approved, RequestStatus::CancellationRequested];
                self.step(*request_id, &from, |status| matches!(status, RequestStatus::Cancelled(_)), event)
            }
            RecordCommand::Recost { request_id, today } => self.recost(person, *request_id, *today, facts),
            RecordCommand::Adjust { adjustment_id, type_id, on, amount, ends_on, reason } => {
                let adjustment = Adjustment { id: *adjustment_id, on: *on, amount: *amount, ends_on: *ends_on, is_encashment: false };
                if !self.adjust(*type_id, adjustment, facts)? {
                    return Ok(Vec::new());
                }
                let (adjustment_id, type_id, on, amount, ends_on) = (*adjustment_id, *type_id, *on, *amount, *ends_on);
                let (class, reason) = (self.class_of(type_id), Personal::Clear(reason.clone()));
                Ok(vec![LeaveAdjusted { employee_id, adjustment_id, type_id, class, on, amount, ends_on, reason }.into()])
            }
            RecordCommand::Encash { encashment_id, type_id, on, amount } => {
                let (encashment_id, type_id, on, amount) = (*encashment_id, *type_id, *on, *amount);
                if !self.encash(encashment_id, type_id, on, amount, facts)? {
                    return Ok(Vec::new());
                }
                let class = self.class_of(type_id);
                Ok(vec![LeaveEncashed { employee_id, encashment_id, type_id, class, on, amount }.into()])
            }
            RecordCommand::Post { type_id, up_to, posting_id } => self.post(person, *type_id, *up_to, *posting_id, facts),
            RecordCommand::Settle { today, posting_id } => Ok(self.settle(person, *today, *posting_id, facts)),
        }
    }

    /// Who may know of a kind of leave; the fewest, where the person was never enrolled for it.
    fn class_of(&self, type_id: LeaveTypeId) -> LeaveTypeClass {
        self.enrolments.iter().find(|row| row.type_id == type_id).map_or(LeaveTypeClass::Medical, |row| row.class)
    }
    /// The policies that the person is, was or will be enrolled in.
    pub fn policies(&self) -> BTreeSet<LeavePolicyId> {
        self.enrolments.iter().map(|row| row.policy_id).collect()
    }
    /// Whether nothing was ever recorded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn status(&self, id: LeaveRequestId) -> Result<RequestStatus, RecordRefusal> {
        self.requests.get(&id).map(|request| request.status).ok_or(RecordRefusal::NotFound)
    }

    /// The event where the request stands so that it can happen; nothing where it has happened already.
    fn step(
        &self,
        id: LeaveRequestId,
        from: &[RequestStatus],
        has_happened: impl Fn(RequestStatus) -> bool,
        event: impl Into<LeaveRecordEvent>,
    ) -> Result<Vec<LeaveRecordEvent>, RecordRefusal> {
        let status = self.status(id)?;
        if from.contains(&status) {
            Ok(vec![event.into()])
        } else if has_happened(status) {
            Ok(Vec::new())
        } else {
            Err(RecordRefusal::WrongStatus(status))
        }
    }

    fn enrol(&self, employee_id: EmployeeId, new: &EnrolmentRow, facts: &RecordFacts) -> Result<Vec<LeaveRecordEvent>, RecordRefusal> {
        if let Some(row) = self.enrolments.iter().find(|row| row.id == new.id) {
            return if row == new { Ok(Vec::new()) } else { Err(RecordRefusal::AlreadyExists) };
        }
        if new.until.is_some_and(|until| until <= new.from) {
            return Err(RecordRefusal::EndsBeforeStart(new.from));
        }
        let meets = |row: &&EnrolmentRow| {
            row.type_id == new.type_id && row.until.is_none_or(|end| new.from < end) && new.until.is_none_or(|end| row.from < end)
        };
        if let Some(row) = self.enrolments.iter().find(meets) {
            return Err(RecordRefusal::Overlaps { enrolment: row.id, from: row.from });
        }
        let versions = facts.versions.get(&new.policy_id).filter(|versions| !versions.is_empty()).ok_or(RecordRefusal::UnknownPolicy)?;
        if versions.iter().all(|version| version.from > new.from) {
            return Err(RecordRefusal::PolicyGap(new.from));
        }
        let EnrolmentRow { id: enrolment_id, type_id, class, policy_id, from, until } = *new;
        Ok(vec![PersonEnrolled { employee_id, enrolment_id, type_id, class, policy_id, from, until }.into()])
    }

    /// Whether an enrolment is to be ended; not where it has that end already.
    fn end_enrolment(&self, id: EnrolmentId, until: Date) -> Result<bool, RecordRefusal> {
        let row = self.enrolments.iter().find(|row| row.id == id).ok_or(RecordRefusal::NotFound)?;
        if row.until == Some(until) {
            return Ok(false);
        }
        if until <= row.from {
            return Err(RecordRefusal::EndsBeforeStart(row.from));
        }
        let loses = |day: &&DayCost| day.asked.on >= until && row.until.is_none_or(|end| day.asked.on < end);
        let live = self.requests.iter().filter(|(_, request)| request.status.is_live() && request.type_id == row.type_id);
        match live.filter_map(|(by, request)| Some((request.days.iter().find(loses)?.asked.on, *by))).min() {
            Some((on, by)) => Err(RecordRefusal::RequestStands { on, by }),
            None => Ok(true),
        }
    }

    /// Refuses to approve what the balance no longer covers, because something underneath has changed since it was asked for.
    fn check_cover(&self, id: LeaveRequestId, facts: &RecordFacts) -> Result<(), RecordRefusal> {
        let Some(request) = self.requests.get(&id).filter(|request| request.status == RequestStatus::Pending) else { return Ok(()) };
        let short = self.shortfalls(request.type_id, self.horizon(request.type_id), facts)?;
        match short.into_iter().find(|shortfall| shortfall.request == Some(id)) {
            None => Ok(()),
            Some(shortfall) => Err(self.not_enough(request.type_id, Some(id), &shortfall)),
        }
    }

    /// The costs of a new request; none where it is there already just so.
    fn request(
        &self,
        id: LeaveRequestId,
        type_id: LeaveTypeId,
        days: &[DayAsked],
        facts: &RecordFacts,
    ) -> Result<Option<Vec<DayCost>>, RecordRefusal> {
        if let Some(request) = self.requests.get(&id) {
            let same = request.type_id == type_id && request.days.iter().map(|day| day.asked).eq(days.iter().copied());
            return if same { Ok(None) } else { Err(RecordRefusal::AlreadyExists) };
        }
        if let Some((on, by)) = self.conflict(days) {
            return Err(RecordRefusal::DayTaken { on, by });
        }
        let enrolments = self.enrolments_of(type_id, facts);
        let costs = costing::cost(days, &enrolments, &facts.work)?;
        let mut after = self.clone();
        after.requests.insert(id, Request { type_id, days: costs.clone(), status: RequestStatus::Pending });
        self.check_limit(&after, type_id, Some(id), facts)?;
        Ok(Some(costs))
    }

    /// The first day of which a live request holds a half that is asked for.
    fn conflict(&self, days: &[DayAsked]) -> Option<(Date, LeaveRequestId)> {
        let held = |asked: &DayAsked| {
            let holds = |day: &DayCost| day.asked.on == asked.on && day.asked.part.halves().meets(asked.part.halves());
            self.requests.iter().find(|(_, request)| request.status.is_live() && request.days.iter().any(holds)).map(|(id, _)| *id)
        };
        days.iter().filter_map(|asked| Some((asked.on, held(asked)?))).min()
    }

    /// Refuses what takes more on some day than the policy leaves, counting pending requests. What fell short before is not
    /// held against it.
    fn check_limit(
        &self,
        after: &Self,
        type_id: LeaveTypeId,
        id: Option<LeaveRequestId>,
        facts: &RecordFacts,
    ) -> Result<(), RecordRefusal> {
        let horizon = after.horizon(type_id);
        let before = self.shortfalls(type_id, horizon, facts)?;
        let stood = |s: &ledger::Shortfall| before.iter().any(|b| b.on == s.on && b.request == s.request && b.missing >= s.missing);
        match after.shortfalls(type_id, horizon, facts)?.into_iter().find(|s| !stood(s)) {
            None => Ok(()),
            Some(s) => Err(self.not_enough(type_id, id, &s)),
        }
    }

    /// The refusal of what falls short, for a request or, without one, for something else.
    fn not_enough(&self, type_id: LeaveTypeId, id: Option<LeaveRequestId>, shortfall: &ledger::Shortfall) -> RecordRefusal {
        /// More would say no more to anybody.
        const NAMED: usize = 5;
        let live =
            self.requests.iter().filter(|(other, request)| request.status.is_live() && request.type_id == type_id && Some(**other) != id);
        let mut others: Vec<(Date, LeaveRequestId)> =
            live.filter_map(|(other, request)| Some((request.days.last()?.asked.on, *other))).collect();
        // The latest first: they are what competes.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let others = others.into_iter().take(NAMED).map(|(_, other)| other).collect();
        let request = shortfall.request.filter(|other| Some(*other) != id);
        RecordRefusal::NotEnough { on: shortfall.on, missing: shortfall.missing, request, others }
    }

    fn shortfalls(&self, type_id: LeaveTypeId, horizon: Date, facts: &RecordFacts) -> Result<Vec<ledger::Shortfall>, RecordRefusal> {
        let enrolments = self.enrolments_of(type_id, facts);
        let takings = self.takings(type_id, Counted::AlsoPending);
        let mut found = self.run(type_id, Counted::AlsoPending, horizon, facts)?.shortfalls;
        let rolling = |on: Date| match Enrolment::grant_among(&enrolments, &facts.work, on)? {
            Grant::Rolling { amount, months } => Some((*amount, *months)),
            Grant::Nothing | Grant::Steps(_) | Grant::PerHourWorked { .. } => None,
        };
        // A rolling entitlement has no lots, so the ledger finds each taking of it short.
        found.retain(|shortfall| rolling(shortfall.on).is_none());
        for taking in takings.iter().filter(|taking| taking.cancelled_on.is_none()) {
            if let Some((amount, months)) = rolling(taking.on) {
                let left = rolling::left(amount, months, &takings, taking.on);
                if left.is_negative() {
                    let missing = Amount::computed(-left.decimal());
                    found.push(ledger::Shortfall { on: taking.on, missing, request: Some(taking.request) });
                }
            }
        }
        found.sort_by_key(|shortfall| shortfall.on);
        Ok(found)
    }

    /// The last day on which anything of a kind of leave is taken.
    fn horizon(&self, type_id: LeaveTypeId) -> Date {
        let takings =
            self.takings(type_id, Counted::AlsoPending).into_iter().map(|taking| taking.cancelled_on.unwrap_or(taking.on).max(taking.on));
        let adjusted = self.adjustments.values().filter(|(of, _)| *of == type_id).map(|(_, adjustment)| adjustment.on);
        takings.chain(adjusted).max().unwrap_or(Date::MIN)
    }

    fn recost(
        &self,
        employee_id: EmployeeId,
        request_id: LeaveRequestId,
        today: Date,
        facts: &RecordFacts,
    ) -> Result<Vec<LeaveRecordEvent>, RecordRefusal> {
        let request = self.requests.get(&request_id).ok_or(RecordRefusal::NotFound)?;
        if !request.status.is_live() {
            return Ok(Vec::new());
        }
        let days = costing::recost(&request.days, &self.enrolments_of(request.type_id, facts), &facts.work)?;
        if days == request.days {
            return Ok(Vec::new());
        }
        let nobody_is_left = days.iter().all(|day| !facts.work.is_employed(day.asked.on));
        let mut events = vec![LeaveRecosted { employee_id, request_id, days }.into()];
        if nobody_is_left {
            events.push(LeaveCancelled { employee_id, request_id, on: today }.into());
        }
        Ok(events)
    }

    /// Whether an adjustment is to be recorded; not where it is there already.
    fn adjust(&self, type_id: LeaveTypeId, adjustment: Adjustment, facts: &RecordFacts) -> Result<bool, RecordRefusal> {
        if let Some(there) = self.adjustments.get(&adjustment.id) {
            return if *there == (type_id, adjustment) { Ok(false) } else { Err(RecordRefusal::AlreadyExists) };
        }
        if !self.enrolments.iter().any(|row| row.type_id == type_id) {
            return Err(RecordRefusal::NotFound);
        }
        if adjustment.amount.is_zero() {
            return Err(RecordRefusal::Zero);
        }
        if adjustment.ends_on.is_some_and(|end| end <= adjustment.on) {
            return Err(RecordRefusal::EndsBeforeItCounts(adjustment.on));
        }
        let mut after = self.clone();
        after.adjustments.insert(adjustment.id, (type_id, adjustment));
        self.check_limit(&after, type_id, None, facts)?;
        Ok(true)
    }

    /// Whether a payment is to be recorded; not where it is there already. It takes what is there, never an advance.
    fn encash(&self, id: AdjustmentId, type_id: LeaveTypeId, on: Date, amount: Amount, facts: &RecordFacts) -> Result<bool, RecordRefusal> {
        if !amount.is_positive() {
            return Err(RecordRefusal::NotPositive);
        }
        let paid = Adjustment { id, on, amount: Amount::computed(-amount.decimal()), ends_on: None, is_encashment: true };
        if let Some(there) = self.adjustments.get(&id) {
            return if *there == (type_id, paid) { Ok(false) } else { Err(RecordRefusal::AlreadyExists) };
        }
        let enrolments = self.enrolments_of(type_id, facts);
        let version = Enrolment::version_among(&enrolments, on).ok_or(CostRefusal::NoPolicy(on))?;
        if !version.terms.encashable {
            return Err(RecordRefusal::NotEncashable);
        }
        let mut after = self.clone();
        after.adjustments.insert(id, (type_id, paid));
        self.check_limit(&after, type_id, None, facts)?;
        let ledger = after.run(type_id, Counted::AlsoPending, on, facts)?;
        let in_advance = ledger.entries.iter().find(|entry| entry.cause == Cause::Encashment { id } && entry.lot.is_none());
        match in_advance {
            Some(entry) => {
                let missing = Amount::computed(-entry.amount.decimal());
                Err(self.not_enough(type_id, None, &ledger::Shortfall { on, missing, request: None }))
            }
            None => Ok(true),
        }
    }

    /// What is due up to a day and not recorded, as events by what the entries do.
    fn post(
        &self,
        employee_id: EmployeeId,
        type_id: LeaveTypeId,
        up_to: Date,
        posting_id: PostingId,
        facts: &RecordFacts,
    ) -> Result<Vec<LeaveRecordEvent>, RecordRefusal> {
        let follows = self.run(type_id, Counted::Approved, up_to, facts)?.entries;
        let recorded = self.recorded.get(&type_id).map_or(&[][..], Vec::as_slice);
        // What is recorded for later days stays: a clock that went back takes nothing away.
        let recorded: Vec<Entry> = recorded.iter().filter(|entry| entry.on <= up_to).copied().collect();
        let (mut accrued, mut carried, mut expired, mut taken, mut booked) = (vec![], vec![], vec![], vec![], vec![]);
        for entry in posting::due(&follows, &recorded) {
            match entry.kind {
                EntryKind::Accrued | EntryKind::Repaid => accrued.push(entry),
                EntryKind::CarriedOut | EntryKind::CarriedIn | EntryKind::Forfeited => carried.push(entry),
                EntryKind::Expired => expired.push(entry),
                EntryKind::Taken | EntryKind::Returned => taken.push(entry),
                EntryKind::Adjusted | EntryKind::Encashed => booked.push(entry),
            }
        }
        let (class, mut events) = (self.class_of(type_id), Vec::<LeaveRecordEvent>::new());
        if !accrued.is_empty() {
            events.push(LeaveAccrued { employee_id, posting_id, type_id, class, entries: accrued }.into());
        }
        if !booked.is_empty() {
            events.push(LeaveAdjustmentBooked { employee_id, posting_id, type_id, class, entries: booked }.into());
        }
        if !taken.is_empty() {
            events.push(LeaveTaken { employee_id, posting_id, type_id, class, entries: taken }.into());
        }
        if !carried.is_empty() {
            events.push(LeaveCarriedOver { employee_id, posting_id, type_id, class, entries: carried }.into());
        }
        if !expired.is_empty() {
            events.push(LeaveLotExpired { employee_id, posting_id, type_id, class, entries: expired }.into());
        }
        Ok(events)
    }

    /// What follows from facts that others changed, and from the day. What can't be computed stays as it is: a request whose days
    /// no calendar knows any more, an account whose policy asks for a schedule that is not set.
    fn settle(&self, employee_id: EmployeeId, today: Date, posting_id: PostingId, facts: &RecordFacts) -> Vec<LeaveRecordEvent> {
        let (mut events, mut after) = (Vec::new(), self.clone());
        let live: Vec<LeaveRequestId> = self.requests.iter().filter(|(_, r)| r.status.is_live()).map(|(id, _)| *id).collect();
        for request_id in live {
            if let Ok(recosted) = after.recost(employee_id, request_id, today, facts) {
                after = recosted.iter().fold(after, Self::evolve);
                events.extend(recosted);
            }
        }
        let types: BTreeSet<LeaveTypeId> = self.enrolments.iter().map(|row| row.type_id).collect();
        let horizon = Date::new(today.year().saturating_add(2), 1, 1).unwrap_or(Date::MAX);
        let mut next: Option<Date> = None;
        for type_id in types {
            if let Ok(posted) = after.post(employee_id, type_id, today, posting_id, facts) {
                events.extend(posted);
            }
            let later = after.next_entry(type_id, today, horizon, facts);
            next = [next, later].into_iter().flatten().min();
        }
        if next != self.next_posting {
            events.push(LeavePostingScheduled { employee_id, next_on: next }.into());
        }
        events
    }

    /// The first day after one on which an entry follows. An account that goes on is looked at again at the horizon.
    fn next_entry(&self, type_id: LeaveTypeId, after: Date, horizon: Date, facts: &RecordFacts) -> Option<Date> {
        let follows = self.run(type_id, Counted::Approved, horizon, facts).map(|ledger| ledger.entries).unwrap_or_default();
        let next = follows.iter().map(|entry| entry.on).filter(|on| *on > after).min();
        let goes_on = || self.enrolments.iter().any(|row| row.type_id == type_id && row.until.is_none_or(|until| until > after));
        next.or_else(|| goes_on().then_some(horizon))
    }

    fn enrolments_of(&self, type_id: LeaveTypeId, facts: &RecordFacts) -> Vec<Enrolment> {
        let rows = self.enrolments.iter().filter(|row| row.type_id == type_id);
        let versions = |row: &EnrolmentRow| facts.versions.get(&row.policy_id).cloned().unwrap_or_default();
        let mut all: Vec<Enrolment> =
            rows.map(|row| Enrolment { id: row.id, from: row.from, until: row.until, versions: versions(row) }).collect();
        all.sort_by_key(|enrolment| enrolment.from);
        all
    }

    fn takings(&self, type_id: LeaveTypeId, counted: Counted) -> Vec<Taking> {
        let counts = |status: RequestStatus| match status {
            RequestStatus::Approved | RequestStatus::CancellationRequested => Some(None),
            RequestStatus::Pending if counted == Counted::AlsoPending => Some(None),
            RequestStatus::Cancelled(on) => Some(Some(on)),
            RequestStatus::Pending | RequestStatus::Rejected | RequestStatus::Withdrawn => None,
        };
        let mut takings = Vec::new();
        for (id, request) in self.requests.iter().filter(|(_, request)| request.type_id == type_id) {
            if let Some(cancelled_on) = counts(request.status) {
                let taking = |day: &DayCost| Taking { request: *id, on: day.asked.on, amount: day.cost, cancelled_on };
                takings.extend(request.days.iter().map(taking));
            }
        }
        takings
    }

    fn run(&self, type_id: LeaveTypeId, counted: Counted, until: Date, facts: &RecordFacts) -> Result<Ledger, PlanFault> {
        let (enrolments, takings) = (self.enrolments_of(type_id, facts), self.takings(type_id, counted));
        let adjustments: Vec<Adjustment> = self.adjustments.values().filter(|(of, _)| *of == type_id).map(|(_, a)| *a).collect();
        let hours = facts.hours.get(&type_id).map_or(&[][..], Vec::as_slice);
        ledger::run(&Account { enrolments: &enrolments, work: &facts.work, hours, takings: &takings, adjustments: &adjustments }, until)
    }

    /// The account of a kind of leave up to a day, with approved requests only.
    pub fn account(&self, type_id: LeaveTypeId, until: Date, facts: &RecordFacts) -> Result<Ledger, PlanFault> {
        self.run(type_id, Counted::Approved, until, facts)
    }
    /// The same, counting requests that nobody has decided.
    pub fn account_with_pending(&self, type_id: LeaveTypeId, until: Date, facts: &RecordFacts) -> Result<Ledger, PlanFault> {
        self.run(type_id, Counted::AlsoPending, until, facts)
    }
    /// What was recorded of an account.
    pub fn recorded(&self, type_id: LeaveTypeId) -> &[Entry] {
        self.recorded.get(&type_id).map_or(&[], Vec::as_slice)
    }
    /// How a request stands and what its days cost.
    pub fn request_of(&self, id: LeaveRequestId) -> Option<(RequestStatus, &[DayCost])> {
        self.requests.get(&id).map(|request| (request.status, request.days.as_slice()))
    }

    /// The state after an event.
    pub fn evolve(mut self, event: &LeaveRecordEvent) -> Self {
        match event {
            LeaveRecordEvent::PersonEnrolled(e) => {
                let (id, type_id, class, policy_id, from, until) = (e.enrolment_id, e.type_id, e.class, e.policy_id, e.from, e.until);
                self.enrolments.push(EnrolmentRow { id, type_id, class, policy_id, from, until });
            }
            LeaveRecordEvent::EnrolmentEnded(e) => {
                if let Some(row) = self.enrolments.iter_mut().find(|row| row.id == e.enrolment_id) {
                    row.until = Some(e.until);
                }
            }
            LeaveRecordEvent::LeaveRequested(e) => {
                let request = Request { type_id: e.type_id, days: e.days.clone(), status: RequestStatus::Pending };
                self.requests.insert(e.request_id, request);
            }
            LeaveRecordEvent::LeaveApproved(e) => self.set(e.request_id, RequestStatus::Approved),
            LeaveRecordEvent::LeaveRejected(e) => self.set(e.request_id, RequestStatus::Rejected),
            LeaveRecordEvent::LeaveWithdrawn(e) => self.set(e.request_id, RequestStatus::Withdrawn),
            LeaveRecordEvent::LeaveCancellationRequested(e) => self.set(e.request_id, RequestStatus::CancellationRequested),
            LeaveRecordEvent::LeaveCancellationRefused(e) => self.set(e.request_id, RequestStatus::Approved),
            LeaveRecordEvent::LeaveCancelled(e) => self.set(e.request_id, RequestStatus::Cancelled(e.on)),
            LeaveRecordEvent::LeaveRecosted(e) => {
                if let Some(request) = self.requests.get_mut(&e.request_id) {
                    request.days.clone_from(&e.days);
                }
            }
            LeaveRecordEvent::LeaveAdjusted(e) => {
                let adjustment = Adjustment { id: e.adjustment_id, on: e.on, amount: e.amount, ends_on: e.ends_on, is_encashment: false };
                self.adjustments.insert(e.adjustment_id, (e.type_id, adjustment));
            }
            LeaveRecordEvent::LeaveEncashed(e) => {
                let amount = Amount::computed(-e.amount.decimal());
                let paid = Adjustment { id: e.encashment_id, on: e.on, amount, ends_on: None, is_encashment: true };
                self.adjustments.insert(e.encashment_id, (e.type_id, paid));
            }
            LeaveRecordEvent::LeaveAccrued(e) => self.record(e.type_id, &e.entries),
            LeaveRecordEvent::LeaveCarriedOver(e) => self.record(e.type_id, &e.entries),
            LeaveRecordEvent::LeaveLotExpired(e) => self.record(e.type_id, &e.entries),
            LeaveRecordEvent::LeaveTaken(e) => self.record(e.type_id, &e.entries),
            LeaveRecordEvent::LeaveAdjustmentBooked(e) => self.record(e.type_id, &e.entries),
            LeaveRecordEvent::LeavePostingScheduled(e) => self.next_posting = e.next_on,
        }
        self
    }

    fn set(&mut self, id: LeaveRequestId, status: RequestStatus) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.status = status;
        }
    }
    fn record(&mut self, type_id: LeaveTypeId, entries: &[Entry]) {
        self.recorded.entry(type_id).or_default().extend_from_slice(entries);
    }
}
