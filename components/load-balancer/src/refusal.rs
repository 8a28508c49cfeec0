use axum::body::Body;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use crate::origin::{Origin, X_REQUEST_ID};

/// Why the load balancer answers by itself instead of forwarding. Everything else is the API Gateway's to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request cannot be read the same way by everybody; the text says why.
    Malformed(&'static str),
    /// The head breaks a limit; the text says which.
    HeadTooLarge(&'static str),
    /// The body breaks the limit, in bytes.
    BodyTooLarge { limit: u64 },
    /// The request was here before.
    Loop,
    /// No instance is ready.
    NoInstance,
    /// This process, or this peer in it, has as many connections as it may.
    TooManyConnections,
    /// A query was not answered in time. Nothing happened.
    QueryTimedOut,
    /// A command was not answered in time. It may have been decided.
    CommandTimedOut,
    /// The instance that had a query is gone. Nothing happened.
    QueryLost,
    /// The instance that had a command is gone. It may have been decided.
    CommandLost,
}

/// How long a client is asked to stay away before it tries again, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

#[derive(Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    retryable: bool,
    detail: String,
    instance: String,
    trace_id: String,
}

impl Refusal {
    /// The problem (RFC 9457) for one request.
    pub(crate) fn response(self, origin: &Origin) -> Response<Body> {
        let mut response = Response::new(Body::from(self.problem(origin)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_REQUEST_ID, origin.header.clone());
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }

    /// The same answer as bytes for a connection that hyper never had, or has given up. The connection closes after it.
    pub(crate) fn bytes(self, origin: &Origin) -> Vec<u8> {
        let body = self.problem(origin);
        let id = origin.id;
        let status = self.status();
        let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
             x-request-id: {id}\r\n{retry}connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::NoInstance | Self::TooManyConnections | Self::QueryTimedOut | Self::QueryLost => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::CommandTimedOut | Self::CommandLost => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn problem(self, origin: &Origin) -> Vec<u8> {
        let (code, title) = self.code_and_title();
        let problem = Problem {
            r#type: format!("/errors/{code}"),
            title,
            status: self.status().as_u16(),
            code,
            retryable: self.is_retryable(),
            detail: self.detail(),
            instance: origin.id.urn().to_string(),
            trace_id: origin.trace_id(),
        };
        serde_json::to_vec(&problem).expect("strings, a number and a flag serialise")
    }

    fn code_and_title(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(_) => ("malformed-request", "The request is malformed"),
            Self::HeadTooLarge(_) => ("headers-too-large", "The request's head is too large"),
            Self::BodyTooLarge { .. } => ("content-too-large", "The request's body is too large"),
            Self::Loop => ("loop-detected", "The request goes round in a circle"),
            Self::NoInstance | Self::TooManyConnections | Self::QueryTimedOut | Self::QueryLost => {
                ("unavailable", "The service is unavailable")
            }
            Self::CommandTimedOut | Self::CommandLost => ("outcome-unknown", "The outcome is unknown"),
        }
    }

    fn is_retryable(self) -> bool {
        matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
    }

    fn detail(self) -> String {
        match self {
            Self::Malformed(what) | Self::HeadTooLarge(what) => what.to_owned(),
            Self::BodyTooLarge { limit } => format!("a body may have {limit} bytes: send less, or in parts"),
            Self::Loop => "the Via header says that this load balancer has forwarded the request before: \
                           look for a proxy that points back at it"
                .to_owned(),
            Self::NoInstance => "no API Gateway is ready: try again".to_owned(),
            Self::TooManyConnections => "too many connections are open: reuse them, or try again".to_owned(),
            Self::QueryTimedOut => "the query was not answered in time: try again".to_owned(),
            Self::QueryLost => "the API Gateway that had the query is gone: try again".to_owned(),
            Self::CommandLost => {
                "the API Gateway that had the command is gone, and the command may have been carried out: \
                                  send it again with the same Idempotency-Key"
                    .to_owned()
            }
            Self::CommandTimedOut => {
                "the command was not answered in time and may have been carried out: send it again with the same \
                 Idempotency-Key"
                    .to_owned()
            }
        }
    }
}
