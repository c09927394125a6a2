//! Restricted statements, kept. Their text depends on the statement, on the form of the reader's rules and on the day, not on who
//! reads: made anew it would take a quarter of the instructions of a request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use events::TenantId;
use sqlx::{Arguments as _, error::BoxDynError, postgres::PgArguments};

use crate::{
    sight::{Form, Leaver, Restricted, Sight},
    today::Todays,
};

/// Texts that are kept, each of about 16 KB. There are some dozens of statements, and few forms of rules in use; at one more all are
/// forgotten, those of yesterday among them.
const KEPT: usize = 512;

/// The texts, by what they are made of. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restrictions(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    texts: HashMap<Form, HashMap<String, Arc<Restricted>>>,
    count: usize,
}

impl Restrictions {
    /// The statement as [`Sight::restrict`] makes it, with its arguments bound.
    pub(crate) fn restrict(
        &self,
        sight: &Sight,
        leaver: Leaver,
        statement: &str,
        arguments: &mut PgArguments,
        tenant: TenantId,
        todays: &Todays,
    ) -> Result<Arc<Restricted>, BoxDynError> {
        let form = sight.form(leaver, arguments.len(), todays);
        let restricted = if let Some(kept) = self.kept(&form, statement) {
            kept.refuse_schema_of(tenant)?;
            kept
        } else {
            let made = Arc::new(sight.restrict(leaver, statement, arguments.len(), tenant, todays)?);
            self.keep(form, statement, made.clone());
            made
        };
        sight.bind(&restricted, arguments, todays)?;
        Ok(restricted)
    }

    fn kept(&self, form: &Form, statement: &str) -> Option<Arc<Restricted>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.texts.get(form)?.get(statement).cloned()
    }

    fn keep(&self, form: Form, statement: &str, made: Arc<Restricted>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.count >= KEPT {
            *kept = Kept::default();
        }
        if kept.texts.entry(form).or_default().insert(statement.to_owned(), made).is_none() {
            kept.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::PLATFORM;

    fn restricted(all: &Restrictions, statement: &str, day: &str, tenant: TenantId) -> Result<(String, usize), String> {
        let mut arguments = PgArguments::default();
        let made = all.restrict(&Sight::default(), Leaver::Surely, statement, &mut arguments, tenant, &Todays::one(day));
        made.map(|made| (made.sql.clone(), arguments.len())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_kept_is_what_would_be_made() {
        let all = Restrictions::default();
        for _ in 0..3 {
            for (statement, day) in [("select * from employee", "2026-11-30"), ("select * from top_span", "2026-11-30")] {
                let fresh = restricted(&Restrictions::default(), statement, day, TENANT).unwrap();
                assert_eq!(restricted(&all, statement, day, TENANT).unwrap(), fresh);
                assert_eq!(fresh.1, 1, "the people whom the reader may see are bound");
            }
        }
        assert_eq!(all.0.lock().unwrap().count, 2);
    }

    /// A text that was made for another tenant names this one's schema: it must not pass because it is known.
    #[test]
    fn a_kept_statement_that_names_the_tenants_schema_is_refused() {
        let (all, other) = (Restrictions::default(), TenantId::from_uuid(uuid::Uuid::max()));
        let statement = format!("select * from {}.employee", platform::read_schema(TENANT, 3));
        assert!(restricted(&all, &statement, "2026-11-30", other).is_ok());
        assert!(restricted(&all, &statement, "2026-11-30", TENANT).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let all = Restrictions::default();
        for n in 0..3 * KEPT {
            restricted(&all, &format!("select {n} from employee"), "2026-11-30", TENANT).unwrap();
            assert!(all.0.lock().unwrap().count <= KEPT);
        }
    }
}
