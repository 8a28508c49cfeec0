//! The stream: made where it is missing, compared where it is there, and told apart from others of its name.

use std::time::Duration;

use async_nats::jetstream::{ErrorCode, context::CreateStreamErrorKind};
use async_nats::jetstream::{
    context::{RequestError, RequestErrorKind},
    response::Response,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use uuid::Uuid;

use super::{Shared, config::JetStreamConfig};
use crate::{Error, QueueLife};

/// What is known of the stream at one moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) life: QueueLife,
    /// The sequences of the oldest message and of the last one there was.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) messages: u64,
}

/// Name space of lives, made up once.
const LIVES: Uuid = Uuid::from_u128(0x6f1d_9c1e_52d3_4f6a_9b1f_0d35_8a7c_21e4);
/// How long a question has no answer before it is asked once more.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The share of `max_bytes`, in tenths, above which it is time to do something.
const FILLING_TENTHS: u64 = 7;

/// The error with all its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}

pub(super) fn unavailable(what: &str, error: &dyn std::error::Error) -> Error {
    Error::Unavailable { reason: format!("{what}: {}", chain(error)) }
}

impl Shared {
    /// What the stream is now. It is made where it is missing: a deleted stream is no operator's work.
    pub(super) async fn ensure(&self) -> Result<Seen, Error> {
        match self.look().await? {
            Some(seen) => Ok(seen),
            None => self.create().await,
        }
    }

    /// What the stream is now, `None` where there is none.
    async fn look(&self) -> Result<Option<Seen>, Error> {
        self.link.ready()?;
        match self.info().await {
            Ok(Response::Ok(info)) => self.checked(&info).map(Some),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            Ok(Response::Err { error }) if is_without_jetstream(error.error_code()) => Err(self.no_jetstream()),
            Ok(Response::Err { error }) => Err(unavailable("the stream cannot be looked at", &error)),
            Err(error) => {
                // While it starts, a server answers nobody; one that never had JetStream says so in its greeting.
                let is_without =
                    error.kind() == RequestErrorKind::NoResponders && !self.link.client().server_info().jetstream;
                Err(if is_without {
                    self.no_jetstream()
                } else {
                    unavailable("the stream cannot be looked at", &error)
                })
            }
        }
    }

    /// Asks again beside what has no answer yet: a cluster that is choosing its leader drops questions, and it is to be heard as
    /// soon as it has one. Ends with the first question's own patience.
    async fn info(&self) -> Result<Response<Info>, RequestError> {
        let (context, subject) = (self.link.context(), format!("STREAM.INFO.{}", self.config.stream));
        let mut asked = FuturesUnordered::new();
        loop {
            asked.push(context.request(subject.clone(), &()));
            if let Ok(Some(answer)) = self.runtime.timeout(ASK_AGAIN, asked.next()).await {
                return answer;
            }
        }
    }

    async fn create(&self) -> Result<Seen, Error> {
        let wanted = wanted(&self.config, &self.names.subject_root());
        match self.link.context().create_stream(wanted).await {
            Ok(stream) => {
                tracing::info!(stream.name = %self.config.stream, "the stream was missing and has been made");
                self.checked(stream.cached_info())
            }
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::TimedOut => unavailable("the stream cannot be made", &error),
                CreateStreamErrorKind::JetStream(said) if is_passing(said.error_code()) => {
                    unavailable("the stream cannot be made", &error)
                }
                CreateStreamErrorKind::JetStream(said) => self.no_stream(said.to_string(), key_of(said.error_code())),
                _ => self.no_stream(chain(&error), "message_queue.stream"),
            }),
        }
    }

    fn checked(&self, info: &Info) -> Result<Seen, Error> {
        let life = life(info);
        // Once a life: an operator may give a running stream more room, and the next start compares again.
        if *self.compared.lock() != Some(life) {
            self.compare(&info.config)?;
            *self.compared.lock() = Some(life);
        }
        self.metrics.replicas.set(i64::try_from(info.config.num_replicas).unwrap_or(i64::MAX));
        self.watch_filling(info);
        Ok(Seen {
            life,
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            messages: info.state.messages,
        })
    }

    /// The first setting in which the stream differs from what is wanted.
    fn compare(&self, found: &Config) -> Result<(), Error> {
        let wanted = wanted(&self.config, &self.names.subject_root());
        let same = |setting: &'static str, key: &'static str, found: String, wanted: String| {
            if found == wanted {
                return Ok(());
            }
            Err(Error::OtherStream { stream: self.config.stream.clone(), setting, found, wanted, key })
        };
        let fixed = "message_queue.stream";
        same("storage", fixed, format!("{:?}", found.storage), format!("{:?}", wanted.storage))?;
        same("retention", fixed, format!("{:?}", found.retention), format!("{:?}", wanted.retention))?;
        same("discard", fixed, format!("{:?}", found.discard), format!("{:?}", wanted.discard))?;
        same("deny_delete", fixed, found.deny_delete.to_string(), wanted.deny_delete.to_string())?;
        same("deny_purge", fixed, found.deny_purge.to_string(), wanted.deny_purge.to_string())?;
        same("subjects", "application", format!("{:?}", found.subjects), format!("{:?}", wanted.subjects))?;
        let replicas = (found.num_replicas.to_string(), wanted.num_replicas.to_string());
        same("num_replicas", "message_queue.replicas", replicas.0, replicas.1)?;
        let bytes = (found.max_bytes.to_string(), wanted.max_bytes.to_string());
        same("max_bytes", "message_queue.stream_bytes_max", bytes.0, bytes.1)?;
        let age = (format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
        same("max_age", "message_queue.stream_age_max", age.0, age.1)?;
        let window = (format!("{:?}", found.duplicate_window), format!("{:?}", wanted.duplicate_window));
        same("duplicate_window", "message_queue.duplicate_window", window.0, window.1)
    }

    /// Says once that the stream is nearly full, and once that it is no more.
    fn watch_filling(&self, info: &Info) {
        let limit = u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX);
        let is_filling = info.state.bytes / FILLING_TENTHS > limit / 10;
        let mut was_filling = self.is_filling.lock();
        if is_filling == *was_filling {
            return;
        }
        *was_filling = is_filling;
        let (bytes, name) = (info.state.bytes, &self.config.stream);
        if is_filling {
            tracing::warn!(stream.name = %name, stream.bytes = bytes, stream.bytes_max = limit,
                "the stream is nearly full, and will refuse events: lower `message_queue.stream_age_max` or raise `message_queue.stream_bytes_max`");
        } else {
            tracing::info!(stream.name = %name, stream.bytes = bytes, "the stream has room again");
        }
    }

    /// Says at the start what is weaker than it should be.
    pub(super) fn greet(&self) {
        let client = self.link.client();
        if !client.is_server_compatible(2, 10, 0) {
            tracing::warn!(server.version = %client.server_info().version,
                "this NATS is older than 2.10: it cannot be told when to sync, and a power cut may take the whole stream");
        }
        if self.config.replicas < 3 {
            tracing::warn!(stream.name = %self.config.stream, stream.replicas = self.config.replicas,
                "the stream has fewer than three copies: the loss of a server may take it, and readers go to the log");
        }
    }

    fn no_jetstream(&self) -> Error {
        Error::NoJetStream { server: self.link.name.clone() }
    }

    fn no_stream(&self, reason: String, key: &'static str) -> Error {
        Error::NoStream { stream: self.config.stream.clone(), reason, key }
    }
}

fn wanted(config: &JetStreamConfig, subject_root: &str) -> Config {
    Config {
        name: config.stream.clone(),
        subjects: vec![format!("{subject_root}.>")],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        num_replicas: config.replicas,
        // An old message that goes for a new one would go in silence.
        discard: DiscardPolicy::New,
        max_bytes: config.stream_bytes_max,
        max_age: config.stream_age_max,
        // The server wants it no longer than the age.
        duplicate_window: config.duplicate_window.min(config.stream_age_max),
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// Name and time of creation: the same to every process and over every reconnect, and another after a re-creation.
fn life(info: &Info) -> QueueLife {
    let born = info.created.unix_timestamp_nanos();
    QueueLife(Uuid::new_v5(&LIVES, format!("{}:{born}", info.config.name).as_bytes()))
}

fn is_without_jetstream(code: ErrorCode) -> bool {
    [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT].contains(&code)
}

/// What another moment may change: two processes that make the stream at once, a cluster without a leader.
fn is_passing(code: ErrorCode) -> bool {
    [ErrorCode::STREAM_NAME_EXIST, ErrorCode::CLUSTER_NOT_AVAILABLE, ErrorCode::CLUSTER_NOT_LEADER].contains(&code)
}

fn key_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => "message_queue.replicas",
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => "message_queue.stream_bytes_max",
        ErrorCode::STREAM_SUBJECT_OVERLAP => "application",
        _ => "message_queue.stream",
    }
}
