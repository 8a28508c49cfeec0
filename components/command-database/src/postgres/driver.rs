//! A connection's task, which also hears what the server says beside its answers.
#![allow(clippy::disallowed_methods, reason = "the driver needs a task for its connection")]

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket, tls::TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Commits that the server acknowledged although nobody waited for their replication to the end: somebody has cancelled that
/// wait. They are durable on this server and may be on no other.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreplicated(Arc<AtomicU64>);

impl Unreplicated {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Where the server waits for its standbys. The text of what it says depends on its language, this does not.
const WAIT: &str = "SyncRepWaitForLSN";

/// Makes connections: under TLS, or plain ones where there is none.
pub(super) struct Driver {
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) heard: Unreplicated,
}

impl Connect for Driver {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        Box::pin(async move {
            let heard = self.heard.clone();
            Ok(match self.tls.clone() {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    (client, tokio::spawn(drive(connection, heard)))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tokio::spawn(drive(connection, heard)))
                }
            })
        })
    }
}

/// What is said before an answer is heard before it: both come through here.
async fn drive<S: TlsStream + AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<Socket, S>,
    unreplicated: Unreplicated,
) {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some(WAIT) => {
                tracing::warn!(notice = notice.message(), "a commit was acknowledged without its replication");
                unreplicated.0.fetch_add(1, Ordering::AcqRel);
            }
            Ok(_) => {}
            Err(error) => return tracing::debug!(%error, "a connection has ended"),
        }
    }
}
