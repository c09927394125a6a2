//! Requests that take no token: log-in and its like. Whoever sends one is nobody yet, so that it may cost nobody anything.
//!
//! Its body is read before it has a place in work. A body that does not come holds nothing but itself: where there are too many of
//! them the one goes that is on its way for longest, and never the one that has just begun.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{HttpBody as _, to_bytes},
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{Gate, Problem, auth::check_known};

/// How long a stranger's body may take.
const BODY: Duration = Duration::from_secs(5);

/// How requests are admitted to the routes that take no token. Cheap to clone.
#[derive(Clone)]
pub struct Strangers {
    gate: Gate,
    paths: Arc<HashSet<String>>,
    /// Bytes of a body at most.
    body: usize,
    arriving: Arc<Arriving>,
}

impl Strangers {
    /// To the routes with these paths, with so many bytes of a body, of which so many may be on their way.
    pub fn new(gate: Gate, paths: HashSet<String>, body: usize, arriving: usize) -> Self {
        let arriving = Arriving { at_most: arriving.max(1), bodies: Mutex::default() };
        Self { gate, paths: paths.into(), body, arriving: arriving.into() }
    }
    /// Whether the request is for one of these routes.
    pub(crate) fn include(&self, request: &Request) -> bool {
        request.extensions().get::<MatchedPath>().is_some_and(|path| self.paths.contains(path.as_str()))
    }
    /// Reads the body, then answers as the route does, where there is a place.
    pub(crate) async fn serve(&self, request: Request, next: Next, time: Duration) -> Response {
        let (parts, body) = request.into_parts();
        if let Err(problem) = check_known(&parts, &[]).and_then(|()| self.gate.check_names(&parts)) {
            return problem.into_response();
        }
        if body.size_hint().lower() > self.body as u64 {
            return self.too_large().into_response();
        }
        let end = Instant::now() + BODY;
        let arriving = self.arriving.begin();
        let read = async {
            tokio::select! {
                read = timeout_at(end, to_bytes(body, self.body)) => read.ok(),
                () = arriving.given_up.notified() => None,
            }
        };
        let body = match read.await {
            Some(Ok(body)) => body,
            Some(Err(_)) => return self.too_large().into_response(),
            None => {
                let detail = "the body did not come in time; send it again";
                return Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail).into_response();
            }
        };
        drop(arriving);
        let _place = match self.gate.admit_stranger(&parts) {
            Ok(place) => place,
            Err(problem) => return problem.into_response(),
        };
        match tokio::time::timeout(time, next.run(Request::from_parts(parts, body.into()))).await {
            Ok(response) => response,
            Err(_) => Problem::unavailable("timeout", "the request took too long and was given up; try again").into_response(),
        }
    }
    fn too_large(&self) -> Problem {
        let detail = format!("the body is longer than {} bytes, or broke off; send less", self.body);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    }
}

/// Bodies that are on their way, by when they began.
struct Arriving {
    at_most: usize,
    bodies: Mutex<Bodies>,
}

#[derive(Default)]
struct Bodies {
    last: u64,
    by_age: BTreeMap<u64, Arc<Notify>>,
}

/// One of them, until this is dropped.
struct Body {
    of: Arc<Arriving>,
    number: u64,
    given_up: Arc<Notify>,
}

impl Arriving {
    /// One more; the oldest is given up for it where there are too many.
    fn begin(self: &Arc<Self>) -> Body {
        let mut bodies = self.bodies();
        if bodies.by_age.len() >= self.at_most
            && let Some((_, oldest)) = bodies.by_age.pop_first()
        {
            oldest.notify_one();
        }
        bodies.last += 1;
        let (number, given_up) = (bodies.last, Arc::new(Notify::new()));
        bodies.by_age.insert(number, given_up.clone());
        Body { of: self.clone(), number, given_up }
    }
    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.of.bodies().by_age.remove(&self.number);
    }
}
