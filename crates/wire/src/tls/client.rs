use std::{fmt, io, net::IpAddr, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{handshake, server::HANDSHAKE_TIME_MAX};
use crate::Stream;

/// The calling end of TLS to instances of one role. Clones are the same.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { connector: TlsConnector::from(Arc::new(config)) }
    }

    pub(crate) async fn handshake(&self, socket: TcpStream, address: IpAddr) -> io::Result<Stream> {
        // An address and no name: it is not what is proven, and nothing of it is sent.
        let handshake = self.connector.connect(ServerName::from(address), socket);
        let done = tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await;
        let stream = done.unwrap_or_else(|_| Err(handshake::too_slow(HANDSHAKE_TIME_MAX)));
        let stream = stream.map_err(|error| io::Error::new(error.kind(), handshake::reason(&error)))?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
