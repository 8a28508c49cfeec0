use std::time::Duration;

/// What a client may take of the process. The defaults are meant for a listener that faces the world.
///
/// Spans of time are kept to within a quarter of a second, or a quarter of the shortest of them if that is less.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections of the process. One more is answered with 503 and closed.
    pub connections_max: usize,
    /// Open connections of one peer address, loopback included. One more is answered with 503 and closed. Proxies that are
    /// named have no such limit.
    pub connections_per_peer_max: usize,
    /// A handshake of TLS must be done within this time, the wait for its turn included, or the connection is closed.
    pub handshake_time_max: Duration,
    /// Handshakes under way. Others wait for their turn. More than one peer can have.
    pub handshakes_max: usize,
    /// A request's head must be complete within this time from its first byte, or the connection is closed.
    pub head_time_max: Duration,
    /// A connection on which nothing happens between two requests is closed after this time.
    pub idle_time_max: Duration,
    /// Size of a head with its request line, in bytes. Beyond: 431 and close.
    pub head_bytes_max: usize,
    /// Number of header lines, at most 100, which is where hyper ends. Beyond: 431 and close.
    pub headers_max: usize,
    /// Size of the request target, in bytes. Beyond: 431 and close.
    pub target_bytes_max: usize,
    /// Size of a body, in bytes, announced or not. Beyond: 413 and close.
    pub body_bytes_max: u64,
    /// After [`body_grace`](Self::body_grace), a body must have come at this mean rate, in bytes a second, whenever we wait
    /// for more of it. A slower one ends its connection without an answer: whoever sends that slowly does not read one.
    pub body_rate_min: u64,
    /// How long a body may come at any rate.
    pub body_grace: Duration,
    /// From the complete head to the beginning of the answer. Beyond: 504 `outcome-unknown` for what may have changed
    /// something, 503 otherwise.
    pub request_time_max: Duration,
    /// How long a peer may take nothing of an answer that waits for it before the connection is closed.
    pub write_stall_max: Duration,
    /// How long [`serve`](crate::serve) waits for requests in flight once a shutdown is asked for.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_peer_max: 1_000,
            handshake_time_max: Duration::from_secs(10),
            handshakes_max: 2_000,
            head_time_max: Duration::from_secs(10),
            idle_time_max: Duration::from_secs(60),
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            target_bytes_max: 8 * 1024,
            body_bytes_max: 1024 * 1024,
            body_rate_min: 1024,
            body_grace: Duration::from_secs(5),
            request_time_max: Duration::from_secs(60),
            write_stall_max: Duration::from_secs(30),
            drain_time_max: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// How often the sweep looks.
    pub(super) fn tick(&self) -> Duration {
        let shortest =
            [self.head_time_max, self.idle_time_max, self.body_grace, self.request_time_max, self.write_stall_max]
                .into_iter()
                .min()
                .unwrap_or_default();
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}
