use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use runtime::{Runtime, Shutdown};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::{debug, warn};
use wire::ServerTls;

use super::{
    Limits,
    connection::serve_connection,
    connections::Connections,
    enter::enter,
    watch::{Clock, Watch},
};
use crate::{Error, LoadBalancer, Networks, origin::Origin, refusal::Refusal, telemetry::Policy};

/// How many connections the system may keep for us until they are accepted.
const BACKLOG: u32 = 4096;

/// How long accepting rests after the system refused to, for example for want of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A bound socket that accepts connections once [`serve`] has it.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: Limits,
    protection: Protection,
}

/// What stands between a listener and the world.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// Connections come under TLS.
    pub tls: Option<ServerTls>,
    /// Connections are taken from these alone, who have ended TLS for their clients. Where none is named, from everybody.
    pub proxies: Networks,
}

impl Protection {
    fn is_none(&self) -> bool {
        self.tls.is_none() && self.proxies.is_empty()
    }
}

impl Listener {
    /// Binds `address` for plain HTTP; port 0 lets the system choose one. Connections queue from now on.
    ///
    /// # Errors
    /// [`Error::NotLoopback`] for every address that others could reach, [`Error::AddressInUse`], [`Error::Listen`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(address: SocketAddr, limits: Limits) -> Result<Self, Error> {
        Self::bind_protected(address, limits, Protection::default())
    }

    /// As [`Listener::bind`]; with a protection also on addresses that others can reach.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_protected(address: SocketAddr, limits: Limits, protection: Protection) -> Result<Self, Error> {
        if protection.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(Error::NotLoopback { address });
        }
        let bound = Self::listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((address, socket)) => Ok(Self { socket, address, limits, protection }),
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => Err(Error::AddressInUse { address, source }),
            Err(source) => Err(Error::Listen { address, source }),
        }
    }

    fn listen(address: SocketAddr) -> io::Result<TcpListener> {
        if let Some(socket) = runtime::inherited_listener(address) {
            socket.set_nonblocking(true)?;
            return TcpListener::from_std(socket);
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for the last process's closed connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still owed an answer at the deadline and were closed without it.
    pub unfinished: usize,
}

/// Serves until `shutdown` is requested, then drains: accepts no more, closes idle connections, finishes the requests in
/// flight with `Connection: close`, and returns after [`Limits::drain_time_max`] at the latest.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn serve(listener: Listener, load_balancer: LoadBalancer, shutdown: Shutdown) -> Drained {
    let Listener { socket, limits, protection, .. } = listener;
    let tls = protection.tls.map(|tls| tls.within(limits.handshake_time_max, limits.handshakes_max));
    let protection = Protection { tls, ..protection };
    let limits = Arc::new(limits);
    let clock = Clock::default();
    let connections = Arc::new(Connections::default());
    let runtime = load_balancer.runtime().clone();
    let end = Shutdown::new();
    runtime.spawn(
        "load balancer: sweep",
        sweep(runtime.clone(), clock.clone(), connections.clone(), limits.tick(), end.clone()),
    );

    let acceptor =
        Acceptor { limits: limits.clone(), protection, clock, connections: connections.clone(), load_balancer };
    tokio::select! {
        biased;
        () = shutdown.requested() => {}
        () = acceptor.accept(&socket) => {}
    }
    drop(socket);
    connections.close_all();
    // Out of time is an end like any other: what is left is counted.
    let _ = runtime.timeout(limits.drain_time_max, connections.emptied()).await;
    let unfinished = connections.abandon_all();
    end.request();
    Drained { unfinished }
}

async fn sweep(runtime: Runtime, clock: Clock, connections: Arc<Connections>, tick: Duration, end: Shutdown) {
    let began = runtime.now();
    while !end.is_requested() {
        runtime.sleep(tick).await;
        let now = u64::try_from((runtime.now() - began).as_millis()).unwrap_or(u64::MAX);
        clock.set(now);
        connections.sweep(now);
    }
}

struct Acceptor {
    limits: Arc<Limits>,
    protection: Protection,
    clock: Clock,
    connections: Arc<Connections>,
    load_balancer: LoadBalancer,
}

impl Acceptor {
    async fn accept(&self, socket: &TcpListener) {
        let http = http();
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.admit(&http, stream, peer.ip().to_canonical()),
                // The peer was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot accept connections, trying again");
                    self.load_balancer.runtime().sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn admit(&self, http: &http1::Builder, stream: TcpStream, peer: IpAddr) {
        let Protection { tls, proxies } = &self.protection;
        let is_proxy = proxies.contains(peer);
        if !is_proxy && !proxies.is_empty() {
            debug!(peer = %peer, "a peer that is no proxy of ours was not let in");
            self.load_balancer.limited(Policy::Peer);
            return;
        }
        // An answer is written at once and whole: holding it back for more would only delay it.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = &error as &dyn std::error::Error, "the peer was gone before it was served");
            return;
        }
        let watch = Arc::new(Watch::new(self.clock.clone(), self.limits.clone()));
        let of_peer_max = if is_proxy { self.limits.connections_max } else { self.limits.connections_per_peer_max };
        match self.connections.admit(peer, &watch, self.limits.connections_max, of_peer_max) {
            Ok(seat) => {
                let (http, tls, load_balancer) = (http.clone(), tls.clone(), self.load_balancer.clone());
                self.load_balancer.runtime().spawn("load balancer: connection", async move {
                    let _seat = seat;
                    if let Some(stream) = enter(stream, tls, &watch, &load_balancer).await {
                        serve_connection(http, stream, peer, load_balancer, watch).await;
                    }
                });
            }
            Err(policy) => {
                self.load_balancer.limited(policy);
                if tls.is_some() {
                    return;
                }
                // As much as the system takes at once: whoever opens too many connections is not waited for.
                let _ =
                    stream.try_write(&Refusal::TooManyConnections.bytes(&Origin::fresh(self.load_balancer.runtime())));
            }
        }
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // A client that has sent all it will send still wants its answer. It also keeps hyper from asking the gate for more
    // while a request is in hand, which costs a wake-up a request. (hyper's `pipeline_flush` and `writev` made no
    // difference that could be told from noise.)
    http.half_close(true);
    http
}
