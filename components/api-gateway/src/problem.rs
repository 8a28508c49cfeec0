//! Errors as RFC 9457 has them. Every code has its row in [`CODES`], and its page in `docs/errors/`.

use std::{borrow::Cow, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{header::insert, identity::Identity};

/// What is constant about one kind of error.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) code: &'static str,
    status: StatusCode,
    title: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// For people: what it means and what to do.
    pub(crate) page: &'static str,
}

macro_rules! codes {
    ($($name:ident: $status:ident $code:literal $title:literal $retryable:literal;)*) => {
        $(pub(crate) static $name: Code = Code {
            code: $code,
            status: StatusCode::$status,
            title: $title,
            retryable: $retryable,
            page: include_str!(concat!("../../../docs/errors/", $code, ".md")),
        };)*

        /// All of them; those that no line here makes are of the Load Balancer or the operator's listener, whose pages are served
        /// here too.
        pub(crate) static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    MALFORMED_REQUEST: BAD_REQUEST "malformed-request" "The request is malformed" false;
    UNKNOWN_PARAMETER: BAD_REQUEST "unknown-parameter" "There is no such parameter" false;
    INVALID_FILTER: BAD_REQUEST "invalid-filter" "The value of a parameter is not understood" false;
    INVALID_PAGE_TOKEN: BAD_REQUEST "invalid-page-token" "The page token does not belong to this query" false;
    INVALID_CONSISTENCY_TOKEN: BAD_REQUEST "invalid-consistency-token" "This is no consistency token" false;
    FORBIDDEN: FORBIDDEN "forbidden" "This is not for whoever asks so" false;
    NOT_FOUND: NOT_FOUND "not-found" "There is nothing here" false;
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED "method-not-allowed" "The method is not possible here" false;
    NOT_ACCEPTABLE: NOT_ACCEPTABLE "not-acceptable" "Nothing that is offered is acceptable" false;
    VERSION_CONFLICT: CONFLICT "version-conflict" "Other commands were faster" true;
    EPOCH_CHANGED: CONFLICT "epoch-changed" "The log no longer contains what the token names" false;
    PRECONDITION_FAILED: PRECONDITION_FAILED "precondition-failed" "The stream is not as the request demands" false;
    CONTENT_TOO_LARGE: PAYLOAD_TOO_LARGE "content-too-large" "The request is too large" false;
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body is not announced as JSON" false;
    INVALID_COMMAND: UNPROCESSABLE_ENTITY "invalid-command" "The fields are not those of the command" false;
    IDEMPOTENCY_KEY_REUSED: UNPROCESSABLE_ENTITY "idempotency-key-reused" "The idempotency key belongs to another request" false;
    HEADERS_TOO_LARGE: REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large" "The head of the request is too large" false;
    INTERNAL: INTERNAL_SERVER_ERROR "internal" "The server failed" false;
    NOT_YET_CONSISTENT: SERVICE_UNAVAILABLE "not-yet-consistent" "The read model has not reached the token" true;
    STORAGE_FULL: SERVICE_UNAVAILABLE "storage-full" "There is no space left to store anything" true;
    UNAVAILABLE: SERVICE_UNAVAILABLE "unavailable" "The request cannot be served now" true;
    OUTCOME_UNKNOWN: GATEWAY_TIMEOUT "outcome-unknown" "Whether the command was executed is not known" true;
    LOOP_DETECTED: LOOP_DETECTED "loop-detected" "The request came round in a circle" false;
}

/// The registered type of load that is shed (IANA, HTTP Problem Types).
const TEMPORARY_REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// One error, before it knows which request it answers. The contents are boxed: answers that are no errors stay small.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    /// Where it is not the code's page.
    registered_type: Option<&'static str>,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    retryable: bool,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    pub(crate) fn new(code: &'static Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            status: code.status,
            code: code.code.into(),
            registered_type: None,
            title: code.title.into(),
            detail: detail.into(),
            retryable: code.retryable,
            members: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// A 503: try again after `retry_after`, but not within the second.
    pub(crate) fn unavailable(code: &'static Code, retry_after: Duration, detail: &'static str) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        let mut problem = Self::new(code, detail);
        insert::<40>(problem.headers(), header::RETRY_AFTER, format_args!("{seconds}"));
        problem
    }

    /// A 503 because a limit was reached.
    pub(crate) fn shed(retry_after: Duration) -> Self {
        let detail = "as many requests are under way as the limits allow: send it again later";
        let mut problem = Self::unavailable(&UNAVAILABLE, retry_after, detail);
        problem.0.registered_type = Some(TEMPORARY_REDUCED_CAPACITY);
        problem
    }

    /// The domain said no.
    pub(crate) fn refusal(aggregate: &str, code: &str, title: String, detail: String) -> Self {
        Self(Box::new(Parts {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: format!("{aggregate}.{code}").into(),
            registered_type: None,
            title: title.into(),
            detail: detail.into(),
            retryable: false,
            members: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// An extension member.
    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    pub(crate) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    pub(crate) fn into_response(self, identity: &Identity, error_pages_url: &str) -> Response<Body> {
        let parts = *self.0;
        let page = || Cow::Owned(format!("{error_pages_url}{}", parts.code));
        let body = Json {
            r#type: parts.registered_type.map_or_else(page, Cow::Borrowed),
            title: &parts.title,
            status: parts.status.as_u16(),
            detail: &parts.detail,
            instance: format!("urn:uuid:{}", identity.request_id),
            code: &parts.code,
            retryable: parts.retryable,
            trace_id: format!("{:032x}", identity.trace.trace_id),
            members: &parts.members,
        };
        // Strings, numbers and booleans always become JSON.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[derive(Serialize)]
struct Json<'a> {
    r#type: Cow<'a, str>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'a str,
    retryable: bool,
    trace_id: String,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The page of an error, as plain text.
pub(crate) fn page(code: &str) -> Result<Response<Body>, Problem> {
    let body = match CODES.iter().find(|known| known.code == code) {
        Some(known) => Body::from(known.page),
        None => Body::from(refusal_page(code)?),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// What can be said of `<aggregate>.<code>` without the domain.
fn refusal_page(code: &str) -> Result<String, Problem> {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
    };
    match code.split_once('.') {
        Some((aggregate, refusal)) if is_name(aggregate) && is_name(refusal) => Ok(format!(
            "# {code}\n\nA refusal of the domain, not an error of the system: the aggregate `{aggregate}` was asked and said \
             no. Nothing was\nwritten. The title and the detail of the problem say why, in the domain's words.\n\n**What to do:** \
             change what the detail names, then send a new command, under a new idempotency key if you use them:\nthe same \
             key gives the same refusal again.\n"
        )),
        _ => Err(Problem::new(&NOT_FOUND, "no error has this code: take it from the problem's member `code`")),
    }
}
