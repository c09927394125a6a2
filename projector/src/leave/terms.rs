//! The folds of kinds of leave and of policies.

#![deny(clippy::disallowed_methods)]

use events::{Event, StreamName, Version, leave::terms::LeaveTermsEvent};
use uuid::Uuid;

use super::{
    known,
    tables::{LeavePolicy, LeaveType, PolicyRows, TypeRows},
    word,
};
use crate::{
    fold::{CannotFold, misplaced, storable_day, storable_text, to_json},
    projection::Fold,
};

/// A kind of leave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Type(Option<LeaveType>);

impl Fold for Type {
    type Rows = TypeRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveTerms(event) = event else { return false };
        match event {
            LeaveTermsEvent::LeaveTypeDefined(e) => touch(e.type_id.uuid()),
            LeaveTermsEvent::LeaveTypeRenamed(e) => touch(e.type_id.uuid()),
            LeaveTermsEvent::LeavePolicyPublished(_) => {}
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveTerms(terms) = event else { return misplaced(event) };
        match terms {
            LeaveTermsEvent::LeaveTypeDefined(e) => {
                storable_text([&e.code, &e.name])?;
                let (code, name, class) = (e.code.clone(), e.name.clone(), word(&e.class)?);
                self.0 = Some(LeaveType { type_id: key, code, name, class });
            }
            LeaveTermsEvent::LeaveTypeRenamed(e) => {
                storable_text([&e.name])?;
                known(&mut self.0, event.event_type(), key)?.name.clone_from(&e.name);
            }
            LeaveTermsEvent::LeavePolicyPublished(_) => return misplaced(event),
        }
        Ok(())
    }
    fn from_rows(rows: TypeRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.leave_type.into_iter().next()))
    }
    fn rows(&self, _: Uuid, to: &mut TypeRows) {
        to.leave_type.extend(self.0.clone());
    }
}

/// A policy in all its versions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy(Vec<LeavePolicy>);

impl Fold for Policy {
    type Rows = PolicyRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::LeaveTerms(event) = event else { return false };
        match event {
            LeaveTermsEvent::LeavePolicyPublished(e) => touch(e.policy_id.uuid()),
            LeaveTermsEvent::LeaveTypeDefined(_) | LeaveTermsEvent::LeaveTypeRenamed(_) => {}
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::LeaveTerms(LeaveTermsEvent::LeavePolicyPublished(e)) = event else { return misplaced(event) };
        storable_text([&e.code])?;
        let version = i16::try_from(e.version).map_err(|_| CannotFold("a policy has more than 32,767 versions".into()))?;
        let (code, type_id, valid_from, terms) = (e.code.clone(), e.type_id.uuid(), storable_day(e.from)?, to_json(&e.terms)?);
        self.0.push(LeavePolicy { policy_id: key, version, code, type_id, valid_from, terms });
        Ok(())
    }
    fn from_rows(rows: PolicyRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.leave_policy))
    }
    fn rows(&self, _: Uuid, to: &mut PolicyRows) {
        to.leave_policy.extend(self.0.iter().cloned());
    }
}
