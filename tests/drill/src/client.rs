use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Longer than the system itself waits for anything.
const ANSWER_WAIT: Duration = Duration::from_secs(70);
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// One client, on one connection that it keeps.
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The problem's own name, the end of its `type`.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        problem["type"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned()
    }
}

/// No answer came: nobody knows whether the request arrived.
pub(crate) type Lost = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Lost> {
        self.send(Method::GET, path, headers, "").await
    }

    pub(crate) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, Lost> {
        self.send(Method::POST, path, headers, body).await
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, Lost> {
        let request = || {
            let mut request =
                Request::builder().method(method.clone()).uri(path).header("host", self.address.to_string());
            if !body.is_empty() {
                request = request.header("content-type", "application/json");
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        };
        // A kept connection that the other end has closed meanwhile has taken nothing.
        if let Some(connection) = self.connection.take() {
            match timeout(ANSWER_WAIT, ask(connection, request()?)).await? {
                Ok((connection, answer)) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(Failed::Unsent) => {}
                Err(Failed::Lost(lost)) => return Err(lost),
            }
        }
        let connection = timeout(CONNECT_WAIT, connect(self.address)).await??;
        match timeout(ANSWER_WAIT, ask(connection, request()?)).await? {
            Ok((connection, answer)) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(Failed::Unsent) => Err("the connection was closed before anything was sent".into()),
            Err(Failed::Lost(lost)) => Err(lost),
        }
    }
}

enum Failed {
    Unsent,
    Lost(Lost),
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Lost> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}

async fn ask(
    mut connection: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(SendRequest<Full<Bytes>>, Answer), Failed> {
    connection.ready().await.map_err(|_| Failed::Unsent)?;
    let response = match connection.send_request(request).await {
        Ok(response) => response,
        Err(error) if error.is_canceled() => return Err(Failed::Unsent),
        Err(error) => return Err(Failed::Lost(error.into())),
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Failed::Lost(error.into()))?.to_bytes();
    Ok((connection, Answer { status: parts.status.as_u16(), headers: parts.headers, body }))
}
