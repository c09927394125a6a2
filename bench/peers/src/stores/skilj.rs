//! skilj: a command through its REST router in this process, as its own benchmark does: nothing crosses a network.

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skilj::{CommandType, EventType, Skilj};
use skilj_core::{
    event_store::Event,
    plugin::BoundedContextEvent,
    shared::{CommandDecision, EventSpec, TagMapping},
};
use tower::ServiceExt as _;

use crate::{Stream, Writer};

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

pub struct SkiljWriter {
    router: axum::Router,
    token: String,
    stream: Stream,
    reason: String,
}

pub async fn open(url: &str, reason: String) -> anyhow::Result<impl Fn() -> SkiljWriter> {
    let admin = skilj::dev::seed_admin(url, "bench", &[CONTEXT]).await?;
    let builder = Skilj::builder(url).bounded_context(CONTEXT).event_type::<CompensationChanged>().command_type::<ChangeCompensation>();
    let (skilj, _) = builder.reconciliation_role(admin.external_subject()).build().await?;
    let token = admin.create_command_token(CONTEXT, ChangeCompensation::NAME).await?;
    let router = skilj.rest_router();
    // Its background tasks run for as long as it lives.
    std::mem::forget(skilj);
    Ok(move || SkiljWriter { router: router.clone(), token: token.clone(), stream: Stream::default(), reason: reason.clone() })
}

impl Writer for SkiljWriter {
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
}
