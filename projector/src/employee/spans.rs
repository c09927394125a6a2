//! A person's spans as rows, and the changes that rows stand for.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use events::{
    Money, PayPeriod, Span,
    employee::{Assignment, AssignmentChange, ContactDetails, ContactDetailsChange, Pay, PersonalDetails, PersonalDetailsChange},
};
use platform::search::fold;
use uuid::Uuid;

use super::{
    person::{Assigned, Contact, Details, Paid},
    tables::{AssignmentSpan, CompensationSpan, ContactSpan, PersonSpan},
};
use crate::{
    binary::Until,
    fold::{CannotFold, is_set, patch, seq},
};

/// What a person is found by on the days of a span, beside the names of it.
pub(super) struct FoundBy<'a> {
    /// The number, and the addresses at work that the person has or had by then.
    pub(super) others: Vec<&'a str>,
    /// The words of names that the person had before, folded, without those of the span.
    former: BTreeSet<String>,
}

impl<'a> FoundBy<'a> {
    /// By a number and no names yet.
    pub(super) fn number(number: Option<&'a str>) -> Self {
        Self { others: number.into_iter().collect(), former: BTreeSet::new() }
    }
    /// The text to search in on the days of a span with these details, whose names later spans may have as former ones.
    fn text(&mut self, details: Option<&PersonalDetails>, becomes_former: bool) -> Option<String> {
        let names = details.iter().flat_map(|d| [d.given_name.as_str(), &d.family_name]);
        let mut known = fold(&names.chain(self.others.iter().copied()).collect::<Vec<_>>().join(" "));
        // Who was erased is found by nothing of before.
        if let Some(d) = details.filter(|_| becomes_former || !self.former.is_empty()) {
            let own: BTreeSet<String> = [&d.given_name, &d.family_name].into_iter().flat_map(|name| words(name)).collect();
            for word in self.former.difference(&own) {
                known.push(' ');
                known.push_str(word);
            }
            if becomes_former {
                self.former.extend(own);
            }
        }
        Some(known).filter(|known| !known.is_empty())
    }
}

fn words(name: &str) -> impl Iterator<Item = String> + use<> {
    fold(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

pub(super) fn details_row(employee_id: Uuid, by: &mut FoundBy<'_>, span: Span<(Option<PersonalDetails>, i16)>) -> PersonSpan {
    let (details, sets) = span.row;
    // No other span comes behind one without an end, and nobody had the names of one without days.
    let search = by.text(details.as_ref(), span.to.is_some_and(|to| span.from.on < to));
    let grams = platform::search::grams(search.as_deref().unwrap_or_default());
    let (given_name, family_name, birth_date, gender) = match details {
        Some(d) => (Some(d.given_name), Some(d.family_name), d.birth_date, d.gender),
        None => (None, None, None, None),
    };
    let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
    PersonSpan { employee_id, valid_from, seq, valid_to, given_name, family_name, birth_date, gender, sets, search, grams }
}

pub(super) fn details_change(row: PersonSpan) -> Details {
    if row.sets == 0 {
        return Details(None);
    }
    let own = |n| is_set(row.sets, n);
    let (birth_date, gender) = (patch(own(2), row.birth_date), patch(own(3), row.gender));
    Details(Some(PersonalDetailsChange {
        given_name: row.given_name.filter(|_| own(0)),
        family_name: row.family_name.filter(|_| own(1)),
        birth_date,
        gender,
    }))
}

pub(super) fn contact_row(employee_id: Uuid, span: Span<(Option<ContactDetails>, i16)>) -> ContactSpan {
    let (contact, sets) = span.row;
    let ContactDetails { work_email, private_email, phone } = contact.unwrap_or_default();
    let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
    ContactSpan { employee_id, valid_from, seq, valid_to, work_email, private_email, phone, sets }
}

pub(super) fn contact_change(row: ContactSpan) -> Contact {
    if row.sets == 0 {
        return Contact(None);
    }
    let own = |n| is_set(row.sets, n);
    let (work_email, private_email, phone) = (patch(own(0), row.work_email), patch(own(1), row.private_email), patch(own(2), row.phone));
    Contact(Some(ContactDetailsChange { work_email, private_email, phone }))
}

pub(super) fn assignment_row(
    employee_id: Uuid,
    employment_id: Uuid,
    span: Span<(Option<Assignment>, String, i16)>,
) -> Option<AssignmentSpan> {
    let (assignment, reason, sets) = span.row;
    let a = assignment?;
    Some(AssignmentSpan {
        employment_id,
        employee_id,
        valid_from: span.from.on,
        seq: seq(span.from),
        valid_to: Until(span.to),
        department_id: a.department_id.uuid(),
        job_id: a.job_id.uuid(),
        location_id: a.location_id.map(events::LocationId::uuid),
        manager_id: a.manager_id.map(events::EmployeeId::uuid),
        reason,
        sets,
    })
}

pub(super) fn assigned(row: AssignmentSpan) -> Assigned {
    let own = |n| is_set(row.sets, n);
    let change = AssignmentChange {
        department_id: own(0).then_some(events::DepartmentId::from_uuid(row.department_id)),
        job_id: own(1).then_some(events::JobId::from_uuid(row.job_id)),
        location_id: patch(own(2), row.location_id.map(events::LocationId::from_uuid)),
        manager_id: patch(own(3), row.manager_id.map(events::EmployeeId::from_uuid)),
    };
    Assigned { change, reason: row.reason }
}

pub(super) fn pay_row(employee_id: Uuid, employment_id: Uuid, span: Span<Option<Paid>>) -> Option<CompensationSpan> {
    let Paid { pay, reason } = span.row?;
    Some(CompensationSpan {
        employment_id,
        employee_id,
        valid_from: span.from.on,
        seq: seq(span.from),
        valid_to: Until(span.to),
        rate: pay.rate.amount(),
        currency: pay.rate.currency().code().into(),
        per: pay.per.name().into(),
        annual: pay.annual().normalize(),
        reason,
    })
}

pub(super) fn paid(row: CompensationSpan) -> Result<Paid, CannotFold> {
    let unreadable = |what: &str| CannotFold(format!("a row of compensation_span has an unreadable {what}"));
    let per = match row.per.as_str() {
        "year" => PayPeriod::Year,
        "month" => PayPeriod::Month,
        "hour" => PayPeriod::Hour,
        _ => return Err(unreadable("period")),
    };
    let currency = row.currency.parse().map_err(|_| unreadable("currency"))?;
    let rate = Money::new(row.rate, currency).map_err(|_| unreadable("rate"))?;
    Ok(Paid { pay: Pay { rate, per }, reason: row.reason })
}
