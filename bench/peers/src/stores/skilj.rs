//! skilj: a command through its REST router in this process, as its own benchmark does: nothing crosses a network. Its projection
//! is made by its background task, which looks every half second by default, or in the command's transaction.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skilj::{CommandType, EventType, Projection, Skilj, SkiljBuilder, dev::DevAdmin};
use skilj_core::{
    event_store::Event,
    plugin::BoundedContextEvent,
    shared::{CommandDecision, EventSpec, TagMapping},
};
use sqlx::{AssertSqlSafe, PgPool};
use tower::ServiceExt as _;

use crate::{Place, Stream};

const CONTEXT: &str = "hr";

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Payload {
    employee_id: String,
    reason: String,
}

fn tags() -> Vec<TagMapping> {
    vec![TagMapping::new("employee", "employee_id")]
}

struct CompensationChanged;

impl EventType for CompensationChanged {
    type Payload = Payload;
    const NAME: &'static str = "CompensationChanged";
    fn tag_mappings() -> Vec<TagMapping> {
        tags()
    }
}

enum CareerEvent {
    Changed,
}

impl BoundedContextEvent for CareerEvent {
    fn try_from_event(event: &Event) -> Option<Result<Self, serde_json::Error>> {
        (event.event_type.name == CompensationChanged::NAME).then_some(Ok(Self::Changed))
    }
}

struct ChangeCompensation;

impl CommandType for ChangeCompensation {
    type Payload = Payload;
    type Event = CareerEvent;
    const NAME: &'static str = "ChangeCompensation";
    fn rest_trigger_allowed() -> bool {
        true
    }
    fn tag_mappings() -> Vec<TagMapping> {
        tags()
    }
    fn decide(payload: &Payload, matching_events: &[CareerEvent]) -> CommandDecision {
        let changes = matching_events.iter().filter(|event| matches!(event, CareerEvent::Changed)).count();
        if changes >= 10 {
            return CommandDecision::Rejected { reason: "ten changes are enough".into(), kind: "too_many".into() };
        }
        let event = EventSpec { event_type: CompensationChanged::NAME.into(), payload: serde_json::json!(payload) };
        CommandDecision::Accepted { events: vec![event] }
    }
}

/// An event as the projection reads it.
struct Change(Payload);

impl BoundedContextEvent for Change {
    fn try_from_event(event: &Event) -> Option<Result<Self, serde_json::Error>> {
        (event.event_type.name == CompensationChanged::NAME).then(|| serde_json::from_str(&event.payload).map(Self))
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Pay {
    changes: i64,
    reason: String,
}

/// Per employee; in the command's transaction or not.
struct PayOf<const SYNC: bool>;

impl<const SYNC: bool> Projection for PayOf<SYNC> {
    type State = Pay;
    type Event = Change;
    const NAME: &'static str = "Pay";
    fn consumed_event_types() -> Vec<&'static str> {
        vec![CompensationChanged::NAME]
    }
    fn sync() -> bool {
        SYNC
    }
    fn keys(Change(payload): &Change) -> Vec<String> {
        vec![payload.employee_id.clone()]
    }
    fn project(state: &mut Pay, Change(payload): &Change, _: &str) {
        state.changes += 1;
        state.reason.clone_from(&payload.reason);
    }
}

pub struct Store<const SYNC: bool> {
    admin: DevAdmin,
    skilj: Option<Skilj>,
    router: axum::Router,
    token: String,
    reason: String,
}

fn builder(place: &Place, admin: &DevAdmin) -> SkiljBuilder {
    let builder = Skilj::builder(&*place.url).bounded_context(CONTEXT).reconciliation_role(admin.external_subject());
    builder.event_type::<CompensationChanged>().command_type::<ChangeCompensation>()
}

impl<const SYNC: bool> crate::Store for Store<SYNC> {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let admin = skilj::dev::seed_admin(&place.url, "bench", &[CONTEXT]).await?;
        let (skilj, _) = builder(place, &admin).build().await?;
        let token = admin.create_command_token(CONTEXT, ChangeCompensation::NAME).await?;
        let router = skilj.rest_router();
        Ok(Self { admin, skilj: Some(skilj), router, token, reason: place.reason.clone() })
    }
    fn writer(&self) -> Writer {
        Writer { router: self.router.clone(), token: self.token.clone(), stream: Stream::default(), reason: self.reason.clone() }
    }
    async fn project(&mut self, place: &Place) -> anyhow::Result<()> {
        // A program that has the projection starts where one ended that had not.
        if let Some(before) = self.skilj.take() {
            before.shutdown(Duration::from_secs(10)).await;
        }
        let (skilj, _) = builder(place, &self.admin).projection::<PayOf<SYNC>>().build().await?;
        self.router = skilj.rest_router();
        self.skilj = Some(skilj);
        // Its rows are in the bounded context's schema.
        let rows = PgPool::connect(&place.rows).await?;
        let schema: String = sqlx::query_scalar("select quote_ident(schemaname) from pg_tables where tablename = 'projection_state'")
            .fetch_one(&rows)
            .await?;
        let view = format!(
            "create view read_model as select key as stream, (state::json->>'changes')::bigint as changes from {schema}.projection_state"
        );
        sqlx::query(AssertSqlSafe(view)).execute(&rows).await?;
        Ok(())
    }
}

pub struct Writer {
    router: axum::Router,
    token: String,
    stream: Stream,
    reason: String,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, _) = self.stream.next();
        let body = serde_json::json!({"payload": {"employee_id": stream.to_string(), "reason": self.reason}}).to_string();
        let request = Request::post("/v1/commands/trigger").header("authorization", format!("Bearer {}", self.token));
        let request = request.header("content-type", "application/json").body(Body::from(body))?;
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let answer = to_bytes(response.into_body(), 1 << 20).await?;
        anyhow::ensure!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
