use events::CommandId;
use uuid::Uuid;

use super::*;
use crate::{ClaimOp, command::from_json};

/// A command from its name and fields; `TENANT` is one tenant's id.
fn command(text: &str) -> Command {
    let (name, data) = text.split_once(' ').unwrap_or((text, ""));
    let tenant_id = TenantId::from_uuid(Uuid::from_u128(7));
    if name == "ConfirmProvisioned" {
        return ConfirmProvisioned { tenant_id }.into();
    }
    let separator = if data.is_empty() { "" } else { "," };
    Command::parse(name, &format!("{{\"tenant_id\":\"{tenant_id}\"{separator}{data}}}")).unwrap().unwrap()
}

const REGISTER: &str = r#"RegisterTenant "slug":"acme","name":"Acme""#;
const RENAME: &str = r#"RenameTenant "slug":"acme-2","name":"Acme""#;
const VIENNA: &str = r#"ChangeTenantTimeZone "time_zone":"Europe/Vienna""#;
const SUSPEND: &str = r#"SuspendTenant "reason":"overdue""#;
const CLOSE: &str = r#"CloseTenant "reason":"ended""#;

fn given(commands: &[&str]) -> State {
    commands.iter().fold(State::default(), |state, text| {
        let events = state.decide(&command(text), &Facts::none()).unwrap();
        assert!(!events.is_empty(), "{text} must do something");
        events.iter().fold(state, State::evolve)
    })
}

/// `expected`: the event's type, nothing, or the refusal's code; then the claims as `+slug` and `-slug`.
#[track_caller]
fn check(given_commands: &[&str], when: &str, expected: &str, claims: &[&str]) {
    let state = given(given_commands);
    let when = command(when);
    let (outcome, events) = match state.decide(&when, &Facts::none()) {
        Ok(events) => (events.iter().map(TenancyEvent::event_type).collect::<Vec<_>>().join(" "), events),
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            (refusal.code().to_owned(), Vec::new())
        }
    };
    assert_eq!(outcome, expected);
    let shown: Vec<_> =
        state.claims(&events).into_iter().map(|c| format!("{}{}", if c.op == ClaimOp::Take { '+' } else { '-' }, c.value)).collect();
    assert_eq!(shown, claims);
    let after = events.iter().fold(state, State::evolve);
    if !events.is_empty() {
        assert_eq!(after.decide(&when, &Facts::none()), Ok(Vec::new()), "a retry changes nothing");
    }
}

#[test]
fn a_tenant_is_registered_once() {
    check(&[], REGISTER, "TenantRegistered", &["+acme"]);
    check(&[REGISTER], REGISTER, "", &[]);
    check(&[REGISTER], r#"RegisterTenant "slug":"other","name":"Acme""#, "already_registered", &[]);
    check(&[REGISTER], r#"RegisterTenant "slug":"acme","name":"Acme","plan":"big""#, "already_registered", &[]);
    check(&[REGISTER, CLOSE], REGISTER, "tenant_closed", &[]);
    let platform = from_json::<RegisterTenant>(r#"{"slug":"acme","name":"Acme"}"#).unwrap();
    assert_eq!(State::default().decide(&platform.into(), &Facts::none()), Err(Refusal::ReservedId), "an id must be filled in");
}

#[test]
fn the_lifecycle_goes_one_way() {
    for text in ["ConfirmProvisioned", RENAME, r#"ChangeSubscription "plan":"big""#, VIENNA, SUSPEND, "ResumeTenant", CLOSE] {
        check(&[], text, "not_found", &[]);
        check(&[REGISTER, CLOSE], text, if text == CLOSE { "" } else { "tenant_closed" }, &[]);
    }
    check(&[REGISTER], "ConfirmProvisioned", "TenantProvisioned", &[]);
    check(&[REGISTER, "ConfirmProvisioned"], "ConfirmProvisioned", "", &[]);
    check(&[REGISTER], SUSPEND, "tenant_not_ready", &[]);
    check(&[REGISTER], "ResumeTenant", "tenant_not_ready", &[]);
    check(&[REGISTER, "ConfirmProvisioned"], SUSPEND, "TenantSuspended", &[]);
    check(&[REGISTER, "ConfirmProvisioned"], "ResumeTenant", "", &[]);
    check(&[REGISTER, "ConfirmProvisioned", SUSPEND], "ResumeTenant", "TenantResumed", &[]);
    check(&[REGISTER, "ConfirmProvisioned", SUSPEND], "ConfirmProvisioned", "", &[]);
    check(&[REGISTER, "ConfirmProvisioned", SUSPEND], r#"SuspendTenant "reason":"abuse""#, "TenantSuspended", &[]);
    check(&[REGISTER, "ConfirmProvisioned", SUSPEND], CLOSE, "TenantClosed", &["-acme"]);
    check(&[REGISTER, CLOSE], r#"CloseTenant "reason":"another one""#, "tenant_closed", &[]);
}

#[test]
fn a_slug_is_held_by_one_tenant_at_a_time() {
    check(&[REGISTER], RENAME, "TenantRenamed", &["-acme", "+acme-2"]);
    check(&[REGISTER], r#"RenameTenant "slug":"acme","name":"Other""#, "TenantRenamed", &[]);
    check(&[REGISTER, RENAME], RENAME, "", &[]);
    check(&[REGISTER, RENAME], CLOSE, "TenantClosed", &["-acme-2"]);
    check(&[REGISTER], r#"ChangeSubscription "plan":"big""#, "SubscriptionChanged", &[]);
    check(&[REGISTER], r#"ChangeSubscription "plan":"standard""#, "", &[]);
}

#[test]
fn a_tenant_goes_by_utc_until_something_else_is_said() {
    const UTC: &str = r#"ChangeTenantTimeZone "time_zone":"UTC""#;
    check(&[REGISTER], UTC, "", &[]);
    check(&[REGISTER], VIENNA, "TenantTimeZoneChanged", &[]);
    check(&[REGISTER, "ConfirmProvisioned", SUSPEND], VIENNA, "TenantTimeZoneChanged", &[]);
    check(&[REGISTER, VIENNA], VIENNA, "", &[]);
    // The database's own spelling.
    check(&[REGISTER, VIENNA], r#"ChangeTenantTimeZone "time_zone":"europe/vienna""#, "", &[]);
    check(&[REGISTER, VIENNA], UTC, "TenantTimeZoneChanged", &[]);
    // With the registration.
    let register = |zone: &str| format!("{REGISTER},\"time_zone\":\"{zone}\"");
    check(&[], &register("Europe/Vienna"), "TenantRegistered TenantTimeZoneChanged", &["+acme"]);
    check(&[], &register("UTC"), "TenantRegistered", &["+acme"]);
    check(&[REGISTER], &register("UTC"), "", &[]);
    check(&[&register("Europe/Vienna")], VIENNA, "", &[]);
    check(&[&register("Europe/Vienna")], REGISTER, "already_registered", &[]);
    check(&[REGISTER], &register("Europe/Vienna"), "already_registered", &[]);
}

#[test]
fn ids_come_from_the_command() {
    let register = || {
        let mut command: Command = from_json::<RegisterTenant>(r#"{"slug":"acme","name":"Acme"}"#).unwrap().into();
        command.fill_ids(CommandId::from_uuid(Uuid::from_u128(1)));
        command.tenant_id()
    };
    assert_eq!(register(), register());
    assert_ne!(register(), TenantId::PLATFORM);
}
