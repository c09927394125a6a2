//! What can go wrong between a client and the server, and in it, on purpose.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{
    Connection, Server, StandIn,
    calls::Call,
    messages::{ReadContent, ReadResp},
};

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// It arrives when the fault is over, and is carried out then, whether or not its client still waits.
    Hold,
    /// It is begun so much later, unless its client has given up by then.
    Slow(Duration),
    /// It is carried out, and answered so much later.
    Late(Duration),
    /// It is carried out, and never answered.
    Mute,
    /// It is carried out, and its connection is cut instead of an answer, or after the first event that it reads.
    Cut,
    /// It is refused and not carried out.
    Refuse(Code, &'static str),
}

pub(super) struct Injected {
    effect: Effect,
    applies: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    left: AtomicU32,
    met: AtomicU32,
    over: CancellationToken,
}

/// A fault that lasts until it is dropped.
pub(crate) struct Fault {
    server: Arc<Server>,
    injected: Arc<Injected>,
}

impl Fault {
    /// How many calls it has met.
    pub(crate) fn met(&self) -> u32 {
        self.injected.met.load(Ordering::Relaxed)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.server.faults.lock().unwrap().retain(|injected| !Arc::ptr_eq(injected, &self.injected));
        self.injected.over.cancel();
    }
}

impl StandIn {
    /// Has this happen to the next `times` calls that are meant.
    pub(crate) fn fault(&self, effect: Effect, times: u32, applies: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Fault {
        let (left, met) = (AtomicU32::new(times), AtomicU32::new(0));
        let injected = Arc::new(Injected { effect, applies: Box::new(applies), left, met, over: CancellationToken::new() });
        self.server.faults.lock().unwrap().push(Arc::clone(&injected));
        Fault { server: Arc::clone(&self.server), injected }
    }
}

/// What happens to one call.
pub(super) struct Effects {
    fault: Option<Arc<Injected>>,
    cut: CancellationToken,
    answered: AtomicBool,
}

impl Effects {
    /// The first fault that means the call.
    pub(super) fn of(connection: &Connection, call: &Call) -> Self {
        let meant = |fault: &&Arc<Injected>| {
            (fault.applies)(call) && fault.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        let fault = connection.server.faults.lock().unwrap().iter().find(meant).cloned();
        if let Some(fault) = &fault {
            fault.met.fetch_add(1, Ordering::Relaxed);
        }
        Self { fault, cut: connection.cut.clone(), answered: AtomicBool::new(false) }
    }

    fn effect(&self) -> Option<Effect> {
        self.fault.as_ref().map(|fault| fault.effect)
    }

    /// While the call waits to be begun. Goes with the caller's patience.
    pub(super) async fn before(&self) -> Result<(), Status> {
        match self.effect() {
            Some(Effect::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Effect::Refuse(code, message)) => return Err(Status::new(code, message)),
            Some(Effect::Hold | Effect::Late(_) | Effect::Mute | Effect::Cut) | None => {}
        }
        Ok(())
    }

    /// While the call is on its way. Must outlast the caller.
    pub(super) async fn on_the_way(&self) {
        if let (Some(Effect::Hold), Some(fault)) = (self.effect(), &self.fault) {
            fault.over.cancelled().await;
        }
    }

    /// Between what was done and its answer.
    pub(super) async fn after(&self) {
        if self.answered.swap(true, Ordering::Relaxed) {
            return;
        }
        match self.effect() {
            Some(Effect::Late(pause)) => tokio::time::sleep(pause).await,
            Some(Effect::Mute) => std::future::pending().await,
            Some(Effect::Cut) => {
                self.cut.cancel();
                std::future::pending::<()>().await;
            }
            Some(Effect::Hold | Effect::Slow(_) | Effect::Refuse(..)) | None => {}
        }
    }

    /// Gives a message of a read to its client, who may have gone.
    pub(super) async fn say(&self, to: &mpsc::Sender<Result<ReadResp, Status>>, content: ReadContent) -> Result<(), Status> {
        if !matches!(self.effect(), Some(Effect::Cut)) {
            self.after().await;
        }
        let said = to.send(Ok(ReadResp { content: Some(content) })).await;
        self.after().await;
        said.map_err(|_| Status::cancelled("the client has gone"))
    }
}
