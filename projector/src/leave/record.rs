//! The folds of a person's enrolments, requests, adjustments, and of what was recorded of accounts.

#![deny(clippy::disallowed_methods)]

use events::{
    EmployeeId, Event, Personal, StreamName, Version,
    leave::{
        DayCost, Entry, HalfReason, LeaveTypeClass, LeaveTypeId, PostingId,
        record::{LeaveRecordEvent, LeaveRequested},
    },
};
use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{
    by_class, known,
    tables::{
        AdjustmentRows, EnrolmentRows, LeaveAdjustment, LeaveDay, LeaveEnrolment, LeaveEntry, LeaveRequest, PostingRows, RequestRows,
    },
    word,
};
use crate::{
    binary::Until,
    fold::{CannotFold, from_json, misplaced, storable_day, storable_text, to_json},
    projection::Fold,
};

/// An enrolment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Enrolment(Option<LeaveEnrolment>);

impl Fold for Enrolment {
    type Rows = EnrolmentRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveRecord(event) = event else { return false };
        if let LeaveRecordEvent::PersonEnrolled(e) = event {
            touch(e.enrolment_id.uuid());
        }
        if let LeaveRecordEvent::EnrolmentEnded(e) = event {
            touch(e.enrolment_id.uuid());
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveRecord(record) = event else { return misplaced(event) };
        if let LeaveRecordEvent::PersonEnrolled(e) = record {
            let [policy_id, personal_policy_id, medical_policy_id] = by_class(e.class, e.policy_id.uuid());
            let (valid_from, valid_to) = (storable_day(e.from)?, Until(e.until.map(storable_day).transpose()?));
            let employee_id = e.employee_id.uuid();
            let row =
                LeaveEnrolment { enrolment_id: key, employee_id, policy_id, personal_policy_id, medical_policy_id, valid_from, valid_to };
            self.0 = Some(row);
        } else if let LeaveRecordEvent::EnrolmentEnded(e) = record {
            known(&mut self.0, event.event_type(), key)?.valid_to = Until(Some(storable_day(e.until)?));
        } else {
            return misplaced(event);
        }
        Ok(())
    }
    fn from_rows(rows: EnrolmentRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.leave_enrolment.into_iter().next()))
    }
    fn rows(&self, _: Uuid, to: &mut EnrolmentRows) {
        to.leave_enrolment.extend(self.0.clone());
    }
}

/// A request, and the days on which the person is away by it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    row: Option<LeaveRequest>,
    days: Vec<DayCost>,
}

/// How requests stand, as the column says it.
const PENDING: &str = "pending";
const APPROVED: &str = "approved";
const REJECTED: &str = "rejected";
const WITHDRAWN: &str = "withdrawn";
const CANCELLATION_REQUESTED: &str = "cancellation_requested";
const CANCELLED: &str = "cancelled";

/// The request that an event is about.
fn request_of(event: &LeaveRecordEvent) -> Option<Uuid> {
    let id = match event {
        LeaveRecordEvent::LeaveRequested(e) => e.request_id,
        LeaveRecordEvent::LeaveApproved(e) => e.request_id,
        LeaveRecordEvent::LeaveRejected(e) => e.request_id,
        LeaveRecordEvent::LeaveWithdrawn(e) => e.request_id,
        LeaveRecordEvent::LeaveCancellationRequested(e) => e.request_id,
        LeaveRecordEvent::LeaveCancellationRefused(e) => e.request_id,
        LeaveRecordEvent::LeaveCancelled(e) => e.request_id,
        LeaveRecordEvent::LeaveRecosted(e) => e.request_id,
        LeaveRecordEvent::PersonEnrolled(_)
        | LeaveRecordEvent::EnrolmentEnded(_)
        | LeaveRecordEvent::LeaveAdjusted(_)
        | LeaveRecordEvent::LeaveEncashed(_)
        | LeaveRecordEvent::LeaveAccrued(_)
        | LeaveRecordEvent::LeaveCarriedOver(_)
        | LeaveRecordEvent::LeaveLotExpired(_)
        | LeaveRecordEvent::LeaveTaken(_)
        | LeaveRecordEvent::LeaveAdjustmentBooked(_)
        | LeaveRecordEvent::LeavePostingScheduled(_) => return None,
    };
    Some(id.uuid())
}

impl Request {
    fn asked(e: &LeaveRequested) -> Result<Self, CannotFold> {
        let (Some(first), Some(last)) = (e.days.iter().map(|day| day.asked.on).min(), e.days.iter().map(|day| day.asked.on).max()) else {
            return Err(CannotFold("a request for leave has no day".into()));
        };
        let note = e.note.clear().cloned().flatten();
        storable_text(&note)?;
        let [type_id, personal_type_id, medical_type_id] = by_class(e.class, e.type_id.uuid());
        let [note, personal_note, medical_note] = by_class(e.class, note).map(Option::flatten);
        let row = LeaveRequest {
            request_id: e.request_id.uuid(),
            employee_id: e.employee_id.uuid(),
            type_id,
            personal_type_id,
            medical_type_id,
            status: PENDING.into(),
            cancelled_on: None,
            first_day: storable_day(first)?,
            last_day: storable_day(last)?,
            cost: Decimal::ZERO,
            days: String::new(),
            sequence: 1,
            note,
            personal_note,
            medical_note,
            decision_reason: None,
        };
        let mut request = Self { row: Some(row), days: Vec::new() };
        request.cost(&e.days)?;
        Ok(request)
    }
    fn cost(&mut self, days: &[DayCost]) -> Result<(), CannotFold> {
        self.days = days.to_vec();
        if let Some(row) = &mut self.row {
            row.cost = days.iter().map(|day| day.cost.decimal()).sum::<Decimal>().normalize();
            row.days = to_json(&days)?;
        }
        Ok(())
    }
}

/// How much of a day somebody is away: the halves that count.
fn away(day: &DayCost) -> Option<&'static str> {
    let counts = |half: &Option<HalfReason>| matches!(half, Some(HalfReason::Counted));
    match (counts(&day.morning), counts(&day.afternoon)) {
        (true, true) => Some("whole"),
        (true, false) => Some("morning"),
        (false, true) => Some("afternoon"),
        (false, false) => None,
    }
}

fn opened(reason: &Personal<String>) -> Result<Option<String>, CannotFold> {
    let reason = reason.clear().cloned();
    storable_text(&reason)?;
    Ok(reason)
}

impl Fold for Request {
    type Rows = RequestRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveRecord(event) = event else { return false };
        if let Some(id) = request_of(event) {
            touch(id);
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveRecord(record) = event else { return misplaced(event) };
        if let LeaveRecordEvent::LeaveRequested(e) = record {
            *self = Self::asked(e)?;
            return Ok(());
        }
        if request_of(record) != Some(key) {
            return misplaced(event);
        }
        let row = known(&mut self.row, event.event_type(), key)?;
        row.sequence += 1;
        let mut stand = |status: &str| status.clone_into(&mut row.status);
        match record {
            LeaveRecordEvent::LeaveApproved(_) => stand(APPROVED),
            LeaveRecordEvent::LeaveRejected(e) => {
                stand(REJECTED);
                row.decision_reason = opened(&e.reason)?;
            }
            LeaveRecordEvent::LeaveWithdrawn(_) => stand(WITHDRAWN),
            LeaveRecordEvent::LeaveCancellationRequested(_) => stand(CANCELLATION_REQUESTED),
            LeaveRecordEvent::LeaveCancellationRefused(e) => {
                stand(APPROVED);
                row.decision_reason = opened(&e.reason)?;
            }
            LeaveRecordEvent::LeaveCancelled(e) => {
                stand(CANCELLED);
                row.cancelled_on = Some(storable_day(e.on)?);
            }
            LeaveRecordEvent::LeaveRecosted(e) => self.cost(&e.days)?,
            LeaveRecordEvent::LeaveRequested(_)
            | LeaveRecordEvent::PersonEnrolled(_)
            | LeaveRecordEvent::EnrolmentEnded(_)
            | LeaveRecordEvent::LeaveAdjusted(_)
            | LeaveRecordEvent::LeaveEncashed(_)
            | LeaveRecordEvent::LeaveAccrued(_)
            | LeaveRecordEvent::LeaveCarriedOver(_)
            | LeaveRecordEvent::LeaveLotExpired(_)
            | LeaveRecordEvent::LeaveTaken(_)
            | LeaveRecordEvent::LeaveAdjustmentBooked(_)
            | LeaveRecordEvent::LeavePostingScheduled(_) => return misplaced(event),
        }
        Ok(())
    }
    fn from_rows(rows: RequestRows) -> Result<Self, CannotFold> {
        let row = rows.leave_request.into_iter().next();
        let days = row.as_ref().map_or(Ok(Vec::new()), |row| from_json(&row.days))?;
        Ok(Self { row, days })
    }
    fn rows(&self, _: Uuid, to: &mut RequestRows) {
        let Some(row) = &self.row else { return };
        to.leave_request.push(row.clone());
        let cancelled_on = row.cancelled_on;
        // Days that were past when the leave was cancelled were taken.
        let before = if row.status == CANCELLED { cancelled_on } else { Some(Date::MAX) };
        let stands = [APPROVED, CANCELLATION_REQUESTED, CANCELLED].contains(&row.status.as_str());
        let is_away = |day: &&DayCost| stands && before.is_some_and(|before| day.asked.on < before);
        for day in self.days.iter().filter(is_away) {
            if let Some(part) = away(day) {
                let (request_id, employee_id) = (row.request_id, row.employee_id);
                to.leave_day.push(LeaveDay { request_id, employee_id, day: day.asked.on, part: part.into() });
            }
        }
    }
}

/// An adjustment or a payment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adjustment(Option<LeaveAdjustment>);

impl Fold for Adjustment {
    type Rows = AdjustmentRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveRecord(event) = event else { return false };
        if let LeaveRecordEvent::LeaveAdjusted(e) = event {
            touch(e.adjustment_id.uuid());
        }
        if let LeaveRecordEvent::LeaveEncashed(e) = event {
            touch(e.encashment_id.uuid());
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveRecord(record) = event else { return misplaced(event) };
        let (employee, type_id, class, day, amount, ends_on, is_encashment, reason) = if let LeaveRecordEvent::LeaveAdjusted(e) = record {
            (e.employee_id, e.type_id, e.class, e.on, e.amount.decimal(), e.ends_on, 0, opened(&e.reason)?)
        } else if let LeaveRecordEvent::LeaveEncashed(e) = record {
            (e.employee_id, e.type_id, e.class, e.on, -e.amount.decimal(), None, 1, None)
        } else {
            return misplaced(event);
        };
        let [type_id, personal_type_id, medical_type_id] = by_class(class, type_id.uuid());
        self.0 = Some(LeaveAdjustment {
            adjustment_id: key,
            employee_id: employee.uuid(),
            type_id,
            personal_type_id,
            medical_type_id,
            day: storable_day(day)?,
            amount,
            ends_on: ends_on.map(storable_day).transpose()?,
            is_encashment,
            reason,
        });
        Ok(())
    }
    fn from_rows(rows: AdjustmentRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.leave_adjustment.into_iter().next()))
    }
    fn rows(&self, _: Uuid, to: &mut AdjustmentRows) {
        to.leave_adjustment.extend(self.0.clone());
    }
}

/// What was recorded together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Posting(Vec<LeaveEntry>);

/// The entries that an event records, with whose they are.
fn posted(event: &LeaveRecordEvent) -> Option<(PostingId, EmployeeId, LeaveTypeId, LeaveTypeClass, &[Entry])> {
    match event {
        LeaveRecordEvent::LeaveAccrued(e) => Some((e.posting_id, e.employee_id, e.type_id, e.class, &e.entries)),
        LeaveRecordEvent::LeaveCarriedOver(e) => Some((e.posting_id, e.employee_id, e.type_id, e.class, &e.entries)),
        LeaveRecordEvent::LeaveLotExpired(e) => Some((e.posting_id, e.employee_id, e.type_id, e.class, &e.entries)),
        LeaveRecordEvent::LeaveTaken(e) => Some((e.posting_id, e.employee_id, e.type_id, e.class, &e.entries)),
        LeaveRecordEvent::LeaveAdjustmentBooked(e) => Some((e.posting_id, e.employee_id, e.type_id, e.class, &e.entries)),
        LeaveRecordEvent::PersonEnrolled(_)
        | LeaveRecordEvent::EnrolmentEnded(_)
        | LeaveRecordEvent::LeaveRequested(_)
        | LeaveRecordEvent::LeaveApproved(_)
        | LeaveRecordEvent::LeaveRejected(_)
        | LeaveRecordEvent::LeaveWithdrawn(_)
        | LeaveRecordEvent::LeaveCancellationRequested(_)
        | LeaveRecordEvent::LeaveCancellationRefused(_)
        | LeaveRecordEvent::LeaveCancelled(_)
        | LeaveRecordEvent::LeaveRecosted(_)
        | LeaveRecordEvent::LeaveAdjusted(_)
        | LeaveRecordEvent::LeaveEncashed(_)
        | LeaveRecordEvent::LeavePostingScheduled(_) => None,
    }
}

impl Fold for Posting {
    type Rows = PostingRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveRecord(event) = event else { return false };
        if let Some((posting, ..)) = posted(event) {
            touch(posting.uuid());
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveRecord(record) = event else { return misplaced(event) };
        let Some((_, employee, type_id, class, entries)) = posted(record) else { return misplaced(event) };
        for entry in entries {
            let seq = i16::try_from(self.0.len()).map_err(|_| CannotFold("more than 32,767 entries were recorded together".into()))?;
            let [type_id, personal_type_id, medical_type_id] = by_class(class, type_id.uuid());
            self.0.push(LeaveEntry {
                posting_id: key,
                seq,
                employee_id: employee.uuid(),
                type_id,
                personal_type_id,
                medical_type_id,
                day: storable_day(entry.on)?,
                kind: word(&entry.kind)?,
                amount: entry.amount.decimal(),
                entry: to_json(entry)?,
            });
        }
        Ok(())
    }
    fn from_rows(rows: PostingRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.leave_entry))
    }
    fn rows(&self, _: Uuid, to: &mut PostingRows) {
        to.leave_entry.extend(self.0.iter().cloned());
    }
}
