use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use runtime::Runtime;
use rustls::ServerConfig;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::TlsAcceptor;

use super::{config, handshake, identity::Identity};
use crate::Stream;

/// How long a handshake may take, its wait for a place among those under way included.
pub(super) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Most handshakes under way at one listener.
const HANDSHAKES_MAX: usize = 1024;
/// At most one line in the log about peers that were refused in this time.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The called end of TLS at one listener. Clones are the same.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    time_max: Duration,
    said: Arc<Mutex<Option<Duration>>>,
}

impl ServerTls {
    pub(super) fn new(config: ServerConfig) -> Self {
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self { acceptor, places, time_max: HANDSHAKE_TIME_MAX, said: Arc::default() }
    }

    /// With other bounds: how long a handshake may take, its wait for a place included, and how many may be under way.
    #[must_use]
    pub fn within(self, time_max: Duration, handshakes_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(handshakes_max)), time_max, ..self }
    }

    /// For a listener that proves who it is and asks nobody in return. HTTP/1.1 is what it offers.
    ///
    /// # Panics
    /// Never: the provider has the versions that are asked for.
    #[must_use]
    pub fn public(identity: &Identity) -> Self {
        let mut config = ServerConfig::builder_with_provider(config::provider())
            .with_protocol_versions(config::OTHERS)
            .expect("the provider has these versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(identity.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::new(config)
    }

    /// Lets a peer in, or says why not.
    ///
    /// # Errors
    /// What the peer did not do in time, or could not prove.
    pub async fn handshake(&self, socket: TcpStream, runtime: &Runtime) -> io::Result<Stream> {
        let handshake = async {
            // The semaphore is never closed.
            let _place = self.places.acquire().await;
            self.acceptor.accept(socket).await
        };
        let done = runtime.timeout(self.time_max, handshake).await;
        let stream = done.unwrap_or_else(|_| Err(handshake::too_slow(self.time_max)))?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// As [`ServerTls::handshake`]; a refusal is said in the log, for whoever wonders why a process is not let in.
    pub(crate) async fn let_in(&self, socket: TcpStream, peer: SocketAddr, runtime: &Runtime) -> Option<Stream> {
        match self.handshake(socket, runtime).await {
            Ok(stream) => Some(stream),
            Err(error) => {
                let (said, now) = (&mut *self.said.lock(), runtime.now());
                if said.is_none_or(|said| now.saturating_sub(said) >= SAY_EVERY) {
                    *said = Some(now);
                    tracing::warn!(peer = %peer, reason = handshake::reason(&error), "a peer was not let in");
                }
                None
            }
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerTls").finish_non_exhaustive()
    }
}
