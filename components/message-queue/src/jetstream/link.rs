//! The connection. It reconnects by itself; what is made anew here is one that has given up.

use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr,
    jetstream::{Context, context::ContextBuilder},
};
use parking_lot::Mutex;
use runtime::Runtime;

use super::config::{Credentials, JetStreamConfig};
use crate::Error;

/// A connection is given up when two of these go unanswered.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Commands on their way to the server; more of them wait.
const COMMANDS_MAX: usize = 1024;
/// Messages of one subscription that were not asked for yet. The server's flow control holds back long before, at 32 MiB.
const MESSAGES_MAX: usize = 65_536;

pub(super) struct Link {
    options: ConnectOptions,
    servers: Vec<ServerAddr>,
    /// The servers, as errors name them: without user or password.
    pub(super) name: String,
    config: Timing,
    context: Mutex<Context>,
}

#[derive(Clone, Copy)]
struct Timing {
    request_timeout: Duration,
    publish_timeout: Duration,
    publish_window: usize,
}

impl Link {
    pub(super) async fn connect(runtime: &Runtime, config: &JetStreamConfig) -> Result<Self, Error> {
        let servers = servers(config)?;
        let names: Vec<_> = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let name = names.join(", ");
        let options = options(config).await.map_err(|reason| Error::Unreachable { server: name.clone(), reason })?;
        let timing = Timing {
            request_timeout: config.request_timeout,
            publish_timeout: config.publish_timeout,
            publish_window: config.publish_window,
        };
        let connecting = client(&options, &servers, &name);
        let client = match runtime.timeout(2 * config.request_timeout, connecting).await {
            Ok(connected) => connected?,
            Err(elapsed) => return Err(Error::Unreachable { server: name, reason: elapsed.to_string() }),
        };
        Ok(Self { options, servers, context: Mutex::new(timing.context(client)), name, config: timing })
    }

    pub(super) fn context(&self) -> Context {
        self.context.lock().clone()
    }

    pub(super) fn client(&self) -> Client {
        self.context.lock().client()
    }

    /// A client that was refused while it reconnected never tries again: makes another in its place.
    pub(super) async fn revive(&self, runtime: &Runtime) -> Result<(), Error> {
        // A client that lives takes the command, also while it is not connected.
        let present = self.client();
        if !matches!(runtime.timeout(Duration::from_millis(20), present.server_pool()).await, Ok(Err(_))) {
            return Ok(());
        }
        let connecting = client(&self.options, &self.servers, &self.name);
        match runtime.timeout(2 * self.config.request_timeout, connecting).await {
            Ok(connected) => {
                *self.context.lock() = self.config.context(connected?);
                Ok(())
            }
            Err(elapsed) => Err(Error::Unreachable { server: self.name.clone(), reason: elapsed.to_string() }),
        }
    }
}

impl Timing {
    fn context(&self, client: Client) -> Context {
        ContextBuilder::new()
            .timeout(self.request_timeout)
            .ack_timeout(self.publish_timeout)
            .max_ack_inflight(2 * self.publish_window.max(1))
            .backpressure_on_inflight(true)
            .build(client)
    }
}

fn servers(config: &JetStreamConfig) -> Result<Vec<ServerAddr>, Error> {
    let parsed: Result<Vec<ServerAddr>, _> = config.servers.iter().map(|server| server.parse()).collect();
    let no_address = |reason: &str| Error::Unreachable { server: "no address".to_owned(), reason: reason.to_owned() };
    match parsed {
        Ok(servers) if servers.is_empty() => Err(no_address("none is configured")),
        Ok(servers) => Ok(servers),
        Err(_) => Err(no_address("one of them is not of the form nats://host:port")),
    }
}

async fn client(options: &ConnectOptions, servers: &[ServerAddr], name: &str) -> Result<Client, Error> {
    options.clone().connect(servers).await.map_err(|error| refusal(&error, name))
}

fn refusal(error: &ConnectError, name: &str) -> Error {
    let server = name.to_owned();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Error::Credentials { server },
        _ => Error::Unreachable { server, reason: super::stream::chain(error) },
    }
}

async fn options(config: &JetStreamConfig) -> Result<ConnectOptions, String> {
    let longest = config.backoff_max;
    let mut options = ConnectOptions::new()
        .name("diptych")
        .connection_timeout(config.request_timeout)
        .request_timeout(Some(config.request_timeout))
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS_MAX)
        .subscription_capacity(MESSAGES_MAX)
        .reconnect_delay_callback(move |attempts| {
            let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
            if attempts <= 1 { Duration::ZERO } else { (Duration::from_millis(5) * 2_u32.pow(doublings)).min(longest) }
        })
        .require_tls(config.tls.required);
    if let Some(authorities) = &config.tls.authorities {
        options = options.add_root_certificates(authorities.clone());
    }
    if let Some((certificate, key)) = &config.tls.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(match &config.credentials {
        Credentials::None => options,
        Credentials::Password { user, password } => options.user_and_password(user.clone(), password.clone()),
        Credentials::Token(token) => options.token(token.clone()),
        Credentials::File(path) => {
            let unreadable = |error| format!("`message_queue.credentials` {} cannot be used: {error}", path.display());
            options.credentials_file(path).await.map_err(unreadable)?
        }
    })
}
