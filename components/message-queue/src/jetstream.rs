//! The queue of a distributed system: a replicated stream of NATS JetStream.
//!
//! JetStream acknowledges before it syncs and can lose, truncate and empty what it has. None of that is an error here: it is
//! noticed by the stream's time of creation and by its sequences, and told to the relay and to readers.

mod config;
mod feed;
mod link;
mod place;
mod publish;
mod reader;
mod stream;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};
use model::{Position, StoredEvent};
use parking_lot::Mutex;
use runtime::Runtime;

pub use self::config::{Credentials, JetStreamConfig, Tls};
use self::{link::Link, reader::Reader};
use crate::{Acknowledged, Error, MessageQueue, Metrics, QueueLife, Subscription, cloud_event::CloudEvents};

/// The [`MessageQueue`] on NATS JetStream. Clones share one connection.
#[derive(Clone)]
pub struct JetStreamQueue {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    config: JetStreamConfig,
    names: CloudEvents,
    metrics: Metrics,
    link: Link,
    /// The life whose settings were last found to be what is wanted.
    compared: Mutex<Option<QueueLife>>,
    /// The life that the last verified batch was in: the next one begins in it.
    began: Mutex<Option<QueueLife>>,
    /// What each reader has yet to be given, by its number.
    pending: Mutex<BTreeMap<u64, u64>>,
    /// Whether the stream was seen to be nearly full.
    is_filling: Mutex<bool>,
}

impl JetStreamQueue {
    /// Connects, and makes the stream or compares it with `config`. Nothing is written where they differ.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Credentials`], [`Error::NoJetStream`], [`Error::OtherStream`], [`Error::NoStream`];
    /// [`Error::Unavailable`] where the server connects and then does not answer.
    pub async fn connect(runtime: Runtime, config: JetStreamConfig, metrics: Metrics) -> Result<Self, Error> {
        let link = Link::connect(&runtime, &config).await?;
        let names = CloudEvents {
            application: config.application.clone(),
            type_prefix: config.event_type_prefix.clone(),
            schemas_url: config.schemas_url.clone(),
        };
        let shared = Shared {
            runtime,
            config,
            names,
            metrics,
            link,
            compared: Mutex::default(),
            began: Mutex::default(),
            pending: Mutex::default(),
            is_filling: Mutex::default(),
        };
        shared.greet();
        shared.ensure().await?;
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl MessageQueue for JetStreamQueue {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        async move {
            let result = self.shared.publish(events).await;
            if result.is_err() {
                self.shared.metrics.publish_failures.inc();
            }
            result
        }
        .boxed()
    }

    fn subscribe(&self, after: Option<Position>) -> BoxFuture<'_, Result<Box<dyn Subscription>, Error>> {
        async move { Ok(Box::new(Reader::enter(self.shared.clone(), after).await?) as Box<dyn Subscription>) }.boxed()
    }

    fn resume_after(&self, cursor: Option<Position>) -> BoxFuture<'_, Result<Option<Position>, Error>> {
        self.shared.resume_after(cursor).boxed()
    }

    fn life(&self) -> BoxFuture<'_, Result<QueueLife, Error>> {
        async move { Ok(self.shared.ensure().await?.life) }.boxed()
    }

    fn pending(&self) -> u64 {
        self.shared.pending.lock().values().copied().max().unwrap_or(0)
    }
}
