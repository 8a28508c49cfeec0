use std::{error::Error as StdError, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::Error;

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer: a row or a problem, neither of them long.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The shop as its clients see it.
pub(super) struct FrontDoor {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

/// No answer: nobody knows what became of the request.
pub(super) type Lost = Box<dyn StdError + Send + Sync>;

impl FrontDoor {
    /// `connections` are kept open while nothing is sent over them.
    pub(super) fn new(url: &str, connections: usize) -> Result<Self, Error> {
        let url = url.trim_end_matches('/');
        let parsed: Option<Uri> = url.parse().ok();
        let usable = parsed
            .is_some_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some() && uri.query().is_none());
        if !usable {
            return Err(Error::Url { url: url.to_owned() });
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(connections)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, url: url.to_owned() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// `path` begins with `/` and is encoded.
    pub(super) async fn command(&self, path: &str, key: &HeaderValue, body: Bytes) -> Result<Answer, Lost> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("idempotency-key", key.clone());
        self.ask(Method::POST, path, headers, body).await
    }

    /// Waits, as long as the front door lets it, for the read model to reach `token`.
    pub(super) async fn query(&self, path: &str, token: &HeaderValue) -> Result<Answer, Lost> {
        let mut headers = HeaderMap::new();
        headers.insert("consistency-token", token.clone());
        headers.insert("prefer", HeaderValue::from_static("wait=30"));
        self.ask(Method::GET, path, headers, Bytes::new()).await
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, Lost> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url)).body(Full::new(body))?;
        request.headers_mut().extend(headers);
        let answer = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await?
    }
}

impl Answer {
    /// The outcome is that of an earlier command with the same key.
    pub(super) fn is_replayed(&self) -> bool {
        self.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
    }

    pub(super) fn token(&self) -> Option<&HeaderValue> {
        self.headers.get("consistency-token")
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}
