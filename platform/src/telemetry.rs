//! Logs, traces (OpenTelemetry) and metrics (Prometheus). No personal data, no slugs, no tenant labels.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::{propagation::TextMapPropagator as _, trace::TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{Config, Process, config::LogFormat, tls};

/// Flushes what is buffered when dropped.
pub struct Guard(SdkTracerProvider);

impl Drop for Guard {
    fn drop(&mut self) {
        // A collector that is away must not hold up the stop.
        let _ = self.0.shutdown_with_timeout(Duration::from_secs(2));
    }
}

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Seconds; from a fast read to a request's timeout.
const BUCKETS: [f64; 14] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Starts logging (`TENURE_LOG`, `TENURE_LOG_FORMAT=json|text`), tracing and the metrics recorder. Once per process.
/// Logs go to standard error, so that a command's output stays clean.
pub fn init(config: &Config, process: Process) -> anyhow::Result<Guard> {
    tls::use_one_provider();
    // The tracer's own reports about a collector that is away would otherwise fill the log.
    let directives = format!("{},opentelemetry=warn,opentelemetry_sdk=off,hyper=warn,reqwest=warn", config.log);
    let filter = EnvFilter::try_new(directives)
        .with_context(|| format!("TENURE_LOG is {:?}; put tracing directives, such as info,store=debug", config.log))?;
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match config.log_format {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        LogFormat::Text => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    let provider = match config.otlp_url.as_deref() {
        Some(url) => tracer(url, process)?,
        // Without a collector spans still get trace ids: a trace that began elsewhere goes on through the feed.
        None => SdkTracerProvider::builder().build(),
    };
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("tenure")).with_location(false).with_threads(false);
    let _ = Registry::default().with(filter).with(logs).with(traces).try_init();
    start_metrics(process)?;
    warn_of_clear_text(config);
    Ok(Guard(provider))
}

fn tracer(url: &str, process: Process) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(url)?)
        .with_endpoint(url)
        .build()
        .with_context(|| {
            format!("TENURE_OTLP_URL is {url:?}; put the collector's HTTP address, such as https://collector:4318/v1/traces")
        })?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(process.name()).build())
        .build())
}

/// How long the collector may take.
const EXPORT: Duration = Duration::from_secs(5);
/// How often the log repeats that traces are lost.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// The way to the collector. The exporter loses what is not taken without a word; this counts it and says so.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    /// The exporter's thread is none of the runtime's, and the client works in a runtime only.
    runtime: tokio::runtime::Handle,
    url: String,
    /// When it was last said that traces are lost; none while they arrive.
    said: Mutex<Option<Instant>>,
}

impl Collector {
    fn new(url: &str) -> anyhow::Result<Self> {
        tls::use_one_provider();
        let client = reqwest::Client::builder().timeout(EXPORT).no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, runtime: tokio::runtime::Handle::try_current()?, url: url.into(), said: Mutex::default() })
    }

    fn note(&self, failure: Option<&dyn std::fmt::Display>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(reason) => {
                metrics::counter!("tenure_trace_exports_failed_total").increment(1);
                if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                    *said = Some(Instant::now());
                    tracing::error!(url = self.url, %reason, "traces are lost: the collector does not take them");
                }
            }
            None if said.take().is_some() => tracing::info!(url = self.url, "the collector takes traces again"),
            None => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let answer = async move {
            let answer = client.execute(request).await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        match self.runtime.spawn(answer).await? {
            Ok((status, body)) => {
                let refused = (!status.is_success()).then(|| format!("it answers {status}"));
                self.note(refused.as_ref().map(|reason| reason as _));
                Ok(Response::builder().status(status).body(body)?)
            }
            Err(error) => {
                // The cause, such as an unknown authority, is the innermost error.
                self.note(Some(&format!("{:#}", anyhow::Error::new(error.without_url()))));
                Err("the collector can't be reached".into())
            }
        }
    }
}

/// Says so where NATS or EventStoreDB are on another machine and reached in clear.
fn warn_of_clear_text(config: &Config) {
    use secrecy::ExposeSecret as _;
    if config.eventstore_url.as_ref().is_some_and(|url| tls::is_weak_eventstore_url(url.expose_secret())) {
        tracing::warn!(target: "audit", "the connection to EventStoreDB is not encrypted, or with whom is not checked; leave tls and tlsVerifyCert out of TENURE_EVENTSTORE_URL");
    }
}

fn start_metrics(process: Process) -> anyhow::Result<()> {
    if METRICS.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.add_global_label("service", process.name()).install_recorder()?;
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let handle = handle.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                handle.run_upkeep();
            }
        });
    }
    let _ = METRICS.set(handle);
    Ok(())
}

/// The metrics in Prometheus' text format; empty before [`init`].
pub fn render_metrics() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// The current span's W3C `traceparent`, for an event's metadata or a message's header.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut carrier);
    carrier.remove("traceparent")
}

/// Makes the trace that a `traceparent` names the parent of a span. Text that is no traceparent changes nothing.
pub fn continue_from(span: &tracing::Span, traceparent: &str) {
    if traceparent.len() != 55 {
        return;
    }
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    let _ = span.set_parent(context);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_through_a_traceparent() {
        let provider = SdkTracerProvider::builder().build();
        let subscriber = Registry::default().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
        tracing::subscriber::with_default(subscriber, || {
            let incoming = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let span = tracing::info_span!("command");
            continue_from(&span, incoming);
            let ours = span.in_scope(traceparent).unwrap();
            assert_eq!(&ours[..36], &incoming[..36], "same trace");
            assert_ne!(&ours[36..52], &incoming[36..52], "own span");

            let other = tracing::info_span!("command");
            continue_from(&other, "00-x");
            assert_ne!(&other.in_scope(traceparent).unwrap()[..36], &incoming[..36]);
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_and_one_that_is_away_does_not_hold_up_the_stop() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = vec![0; 4096];
            let n = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&head[..n]).into_owned()
        });
        let export = |url: &str| {
            let provider = tracer(url, Process::Relay).unwrap();
            let guard = Guard(provider.clone());
            let subscriber = Registry::default().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")));
            tracing::subscriber::with_default(subscriber, || tracing::info_span!("publish").in_scope(|| ()));
            drop(guard);
        };
        export(&url);
        let request = collector.join().unwrap();
        assert!(request.starts_with("POST /v1/traces HTTP/1.1"), "{request}");
        let started = std::time::Instant::now();
        export("http://127.0.0.1:9/v1/traces");
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
