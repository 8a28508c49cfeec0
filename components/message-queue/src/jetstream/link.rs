//! The connection. It reconnects by itself, for as long as it takes, also to a server that refuses it meanwhile.

use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr,
    connection::State,
    jetstream::{Context, context::ContextBuilder},
};
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
    context: Context,
    /// The servers, as errors name them: without user or password.
    pub(super) name: String,
}

impl Link {
    pub(super) async fn connect(runtime: &Runtime, config: &JetStreamConfig) -> Result<Self, Error> {
        let servers = servers(config)?;
        let names: Vec<_> = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let name = names.join(", ");
        let options = options(config).await.map_err(|reason| Error::Unreachable { server: name.clone(), reason })?;
        let client = match runtime.timeout(2 * config.request_timeout, options.connect(servers)).await {
            Ok(connected) => connected.map_err(|error| refusal(&error, &name))?,
            Err(elapsed) => return Err(Error::Unreachable { server: name, reason: elapsed.to_string() }),
        };
        let context = ContextBuilder::new()
            .timeout(config.request_timeout)
            .ack_timeout(config.publish_timeout)
            .max_ack_inflight(2 * config.publish_window.max(1))
            .backpressure_on_inflight(true)
            .build(client);
        Ok(Self { context, name })
    }

    pub(super) fn context(&self) -> Context {
        self.context.clone()
    }

    pub(super) fn client(&self) -> Client {
        self.context.client()
    }

    /// Fails at once while there is no connection: what is sent then would wait, be given up here, and be stored later.
    pub(super) fn ready(&self) -> Result<(), Error> {
        if self.client().connection_state() == State::Connected {
            return Ok(());
        }
        Err(Error::Unavailable { reason: format!("the connection to NATS at {} was lost", self.name) })
    }
}

fn servers(config: &JetStreamConfig) -> Result<Vec<ServerAddr>, Error> {
    let parsed: Result<Vec<ServerAddr>, _> = config.servers.iter().map(|server| server.parse()).collect();
    let no_address = |reason: &str| Error::Unreachable { server: "no address".to_owned(), reason: reason.to_owned() };
    match parsed {
        Ok(servers) if servers.is_empty() => Err(no_address("none is configured")),
        // An address is printed; who may come in is not.
        Ok(servers) if servers.iter().any(|server| server.username().is_some()) => {
            Err(no_address("user and password belong into `message_queue.credentials`"))
        }
        Ok(servers) => Ok(servers),
        Err(_) => Err(no_address("one of them is not of the form nats://host:port")),
    }
}

fn refusal(error: &ConnectError, name: &str) -> Error {
    let server = name.to_owned();
    if let Some(reason) = wire::handshake_failure(error) {
        return Error::Tls { server, reason };
    }
    match error.kind() {
        ConnectErrorKind::Tls => Error::Tls { server, reason: super::stream::chain(error) },
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
        .event_callback(|event| async move { tell(&event) })
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

/// What the server says unasked, such as that somebody may not publish.
fn tell(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("the connection to NATS was lost"),
        Event::ServerError(error) => tracing::warn!(error = %error, "NATS refused something"),
        other => tracing::debug!(event = %other, "from NATS"),
    }
}
