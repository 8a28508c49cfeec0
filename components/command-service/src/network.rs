//! The service across processes: [`RemoteCommandService`] calls, [`CommandEndpoint`] answers.
//!
//! A call is requests as JSON, with the commands' fields beside them as they came. All commands of one aggregate go to the
//! same instance while the set of instances stays as it is, so that its memory stays hot; correctness does not depend on it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use runtime::Runtime;
use tokio::sync::oneshot;
use wire::{Answers, By, Call, CallError, Caller, Frame, Sending, Unanswered};

use crate::{CommandOutcome, CommandRequest, CommandService, UnavailableReason, executor::RETRY_AFTER};

const EXECUTE: &str = "/command-service/execute";

/// Commands that one call carries at the most.
const CALL_COMMANDS_MAX: usize = 256;
/// Bytes of fields after which a call carries no further command: with one more of any size that a gateway lets in, it stays
/// below what [`wire::ServerLimits`] let in.
const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A Command Service in other processes. Cheap to clone.
///
/// One call at a time is under way for an aggregate, which carries whatever was sent for it by then: in order, which several
/// calls on their way at once would not keep, and many to a call where an aggregate is hot.
#[derive(Clone)]
pub struct RemoteCommandService {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    caller: Caller,
    /// How long an answer is waited for. Whether the command was executed is unknown after that.
    patience: Duration,
    /// Aggregates with a call under way, and what waits for the next one. As many as commands are under way.
    waiting: Mutex<BTreeMap<String, Vec<Sent>>>,
}

/// A command, and who is to hear what became of it.
struct Sent {
    request: CommandRequest,
    asker: oneshot::Sender<CommandOutcome>,
}

impl RemoteCommandService {
    /// Over the instances that `caller` calls.
    #[must_use]
    pub fn new(runtime: Runtime, caller: Caller, patience: Duration) -> Self {
        Self { inner: Arc::new(Inner { runtime, caller, patience, waiting: Mutex::default() }) }
    }
}

impl std::fmt::Debug for RemoteCommandService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RemoteCommandService").field("caller", &self.inner.caller).finish_non_exhaustive()
    }
}

impl CommandService for RemoteCommandService {
    fn execute(&self, request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        let key = [request.tenant.as_str(), &request.aggregate, &request.id].join("\0");
        let (asker, outcome) = oneshot::channel();
        let sent = Sent { request, asker };
        let starts = match self.inner.waiting.lock().entry(key.clone()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(sent);
                false
            }
            Entry::Vacant(entry) => {
                entry.insert(vec![sent]);
                true
            }
        };
        if starts {
            // A task of its own: whoever asked may go, the command is sent all the same.
            drop(self.inner.runtime.spawn("remote commands", self.inner.clone().call_all(key)));
        }
        Box::pin(async move { outcome.await.unwrap_or(CommandOutcome::Unknown) })
    }
}

impl Inner {
    /// Calls for an aggregate until nothing waits for it.
    async fn call_all(self: Arc<Self>, key: String) {
        let mut turn = Turn { inner: &self, key: &key, is_over: false };
        while let Some(sent) = self.next(&key) {
            let (requests, askers): (Vec<_>, Vec<_>) = sent.into_iter().map(|sent| (sent.request, sent.asker)).unzip();
            for (asker, outcome) in askers.into_iter().zip(self.call(&key, requests).await) {
                // Whoever asked may be gone.
                let _ = asker.send(outcome);
            }
        }
        turn.is_over = true;
    }

    fn next(&self, key: &str) -> Option<Vec<Sent>> {
        let mut aggregates = self.waiting.lock();
        let waiting = aggregates.get_mut(key)?;
        if waiting.is_empty() {
            aggregates.remove(key);
            return None;
        }
        let mut bytes = 0;
        let carried = waiting.iter().take(CALL_COMMANDS_MAX).take_while(|sent| {
            let goes_on = bytes < CALL_BYTES_MAX;
            bytes += sent.request.fields.len();
            goes_on
        });
        let count = carried.count();
        Some(waiting.drain(..count).collect())
    }

    /// An outcome for each.
    async fn call(&self, key: &str, requests: Vec<CommandRequest>) -> Vec<CommandOutcome> {
        let count = requests.len();
        let of_all = |outcome: CommandOutcome| vec![outcome; count];
        let frame = match encode(requests) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(error = %error, "commands cannot be sent to the Command Service");
                return of_all(CommandOutcome::Internal);
            }
        };
        let call = Call {
            by: By::Key(key.as_bytes()),
            sending: Sending::Once,
            path: EXECUTE,
            frame,
            patience: self.patience,
            patience_in_all: self.patience,
        };
        match self.caller.call(call).await {
            Ok(answer) => decode(answer, count),
            Err(CallError::NotSent(reason)) => {
                tracing::warn!(reason, "no Command Service takes commands");
                of_all(CommandOutcome::Unavailable { reason: UnavailableReason::Unreachable, retry_after: RETRY_AFTER })
            }
            Err(CallError::Refused(reason)) => {
                tracing::error!(reason, "the Command Service does not understand commands: is it of another version?");
                of_all(CommandOutcome::Internal)
            }
            Err(CallError::Lost(reason)) => {
                tracing::warn!(reason, "what became of commands is not known");
                of_all(CommandOutcome::Unknown)
            }
        }
    }
}

/// An aggregate's turn to be called for. However it ends, those who come later are not left waiting for it.
struct Turn<'a> {
    inner: &'a Inner,
    key: &'a str,
    /// Nothing waited any more, and whatever comes begins a turn of its own.
    is_over: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // A panic ended it, or the runtime did: whoever waits hears that nobody knows.
            self.inner.waiting.lock().remove(self.key);
        }
    }
}

fn is_draining(outcome: &CommandOutcome) -> bool {
    matches!(outcome, CommandOutcome::Unavailable { reason: UnavailableReason::Draining, .. })
}

/// The fields stand beside the requests, in their order.
fn encode(mut requests: Vec<CommandRequest>) -> Result<Bytes, wire::Error> {
    let parts = requests.iter_mut().map(|request| std::mem::take(&mut request.fields)).collect();
    Frame { head: requests, parts }.encode()
}

/// An answer that cannot be read leaves open what was done.
fn decode(answer: Bytes, count: usize) -> Vec<CommandOutcome> {
    let found = match Frame::<Vec<CommandOutcome>>::decode(answer) {
        Ok(Frame { head, .. }) if head.len() == count => return head,
        Ok(Frame { head, .. }) => format!("{} outcomes of {count} commands", head.len()),
        Err(error) => error.to_string(),
    };
    tracing::error!(found, "the Command Service's answer cannot be read: is it of another version?");
    vec![CommandOutcome::Unknown; count]
}

/// The other end: answers calls from a service of this process.
pub struct CommandEndpoint<R> {
    service: Arc<dyn CommandService>,
    is_ready: R,
}

impl<R> CommandEndpoint<R> {
    /// `is_ready` says whether calls are taken; a process that ends says no a while before it does.
    pub fn new(service: Arc<dyn CommandService>, is_ready: R) -> Self {
        Self { service, is_ready }
    }
}

impl<R> std::fmt::Debug for CommandEndpoint<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CommandEndpoint").finish_non_exhaustive()
    }
}

impl<R: Fn() -> bool + Send + Sync + 'static> Answers for CommandEndpoint<R> {
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>> {
        let refused = |error| -> BoxFuture<'static, _> { Box::pin(async { Err(Unanswered::Refused(error)) }) };
        let request = match path {
            EXECUTE => Frame::<Vec<CommandRequest>>::decode(frame),
            _ => Err(wire::Error::Frame { found: format!("{path} is no call of the Command Service") }),
        };
        match request {
            Ok(Frame { head, parts }) if head.len() == parts.len() => {
                // Handed over here, in order; they are waited for together.
                let executed: Vec<_> = head
                    .into_iter()
                    .zip(parts)
                    .map(|(request, fields)| self.service.execute(CommandRequest { fields, ..request }))
                    .collect();
                Box::pin(async move {
                    let outcomes = join_all(executed).await;
                    if !outcomes.is_empty() && outcomes.iter().all(is_draining) {
                        return Err(Unanswered::NotNow);
                    }
                    Frame::new(outcomes).encode().map_err(Unanswered::Lost)
                })
            }
            Ok(_) => refused(wire::Error::Frame { found: "commands without their fields".to_owned() }),
            Err(error) => refused(error),
        }
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }
}
