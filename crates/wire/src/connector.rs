use std::{
    io,
    net::IpAddr,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tower::Service;

use crate::{ClientTls, Stream};

/// Makes connections to instances: under TLS, or plain ones on this machine.
#[derive(Clone, Debug)]
pub struct Connector {
    tcp: HttpConnector,
    tls: Option<ClientTls>,
}

impl Connector {
    pub(crate) fn new(tls: Option<ClientTls>, connect_time_max: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_time_max));
        Self { tcp, tls }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<Stream>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut tcp, tls) = (self.tcp.clone(), self.tls.clone());
        Box::pin(async move {
            let address = address(&uri)?;
            let Some(tls) = tls else {
                if !address.is_loopback() {
                    return Err(
                        format!("{address} is another machine, which is not called without TLS: set `tls`").into()
                    );
                }
                return Ok(TokioIo::new(Stream::Plain(tcp.call(uri).await?.into_inner())));
            };
            let socket = tcp.call(uri).await?.into_inner();
            Ok(TokioIo::new(tls.handshake(socket, address).await?))
        })
    }
}

fn address(uri: &Uri) -> io::Result<IpAddr> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.parse().map_err(|_| io::Error::other(format!("{host:?} is no address")))
}
