use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request};
use model::{Position, TraceContext};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use query_service::{Answer, Body as Found, QueryOutcome};

use crate::{
    consistency::{self, CONSISTENCY_TOKEN},
    header::value,
    precondition,
    prefer::Preferences,
    problem::{self, Problem},
    route::decode,
    telemetry::{BOX, HOP},
};

/// What a client asked, as far as the answer depends on it.
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a request::Parts,
    /// As it stands in the path.
    pub(crate) read_model: &'a str,
    pub(crate) preferences: Preferences,
    pub(crate) trace: TraceContext,
}

/// The response to a query.
pub(crate) fn response(asked: &Asked<'_>, outcome: QueryOutcome) -> Result<Response<Body>, Problem> {
    let _hop = tracing::debug_span!(
        target: HOP,
        "api-gateway",
        diptych.r#box = BOX,
        diptych.hop = 10,
        trace_id = %format_args!("{:032x}", asked.trace.trace_id)
    )
    .entered();
    let answer = match outcome {
        QueryOutcome::Answered(answer) => answered(asked, answer),
        other => Err(refused(other)),
    };
    answer.map_err(|mut problem| {
        asked.preferences.write_applied(problem.headers());
        write_caching(problem.headers());
        problem
    })
}

fn answered(asked: &Asked<'_>, answer: Answer) -> Result<Response<Body>, Problem> {
    let mut headers = HeaderMap::with_capacity(12);
    if let Some(token) = answer.token {
        crate::header::insert::<64>(&mut headers, CONSISTENCY_TOKEN.clone(), format_args!("{token}"));
    }
    consistency::write(&mut headers, answer.freshness);
    let (position, next) = match &answer.body {
        Found::NoRow => {
            let detail = format!("read model {} has no row of this key", asked.read_model);
            let mut problem = Problem::new(&problem::NOT_FOUND, detail);
            *problem.headers() = headers;
            return Err(problem);
        }
        Found::Row { position, .. } => (Some(*position), None),
        Found::Page { position, next_page_token, .. } => (*position, next_page_token.as_deref()),
    };
    asked.preferences.write_applied(&mut headers);
    write_caching(&mut headers);
    let generation = answer.generation;
    let tag = value::<64>(format_args!("W/\"g{generation}-{}\"", Position::count(position)));
    let seen = tag.as_ref().and_then(|tag| tag.to_str().ok());
    let seen = seen.is_some_and(|tag| precondition::has_seen(&asked.parts.headers, tag));
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    if let Some(link) = next.and_then(|token| link(asked, token)) {
        headers.insert(header::LINK, link);
    }
    let mut response = Response::new(Body::empty());
    if seen {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::from(body(answer.body));
    }
    *response.headers_mut() = headers;
    Ok(response)
}

fn write_caching(headers: &mut HeaderMap) {
    const VARY: &str = "Prefer, Consistency-Token, Accept, Authorization";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
}

/// The stored bytes: a row's as they are, a page's one after the other.
fn body(found: Found) -> Bytes {
    let (rows, next) = match found {
        Found::Row { body, .. } => return body,
        Found::NoRow => return Bytes::new(),
        Found::Page { rows, next_page_token, .. } => (rows, next_page_token),
    };
    let length = rows.iter().map(|row| row.len() + 1).sum::<usize>() + next.as_ref().map_or(0, String::len) + 40;
    let mut text = BytesMut::with_capacity(length);
    text.extend_from_slice(b"{\"rows\":[");
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(b",");
        }
        text.extend_from_slice(row);
    }
    text.extend_from_slice(b"]");
    if let Some(next) = next {
        text.extend_from_slice(b",\"next_page_token\":\"");
        // Page tokens are URL-safe base64 with a prefix: nothing in them needs escaping.
        text.extend_from_slice(next.as_bytes());
        text.extend_from_slice(b"\"");
    }
    text.extend_from_slice(b"}");
    text.freeze()
}

/// What a request's address may hold but a link may not (RFC 8288).
const NOT_IN_LINK: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// The same query with another page token. The client's other parameters stay as they were sent.
fn link(asked: &Asked<'_>, token: &str) -> Option<HeaderValue> {
    let uri = &asked.parts.uri;
    let others = uri.query().unwrap_or_default().split('&').filter(|other| !other.is_empty());
    let mut target = String::with_capacity(256);
    target.push('<');
    target.extend(utf8_percent_encode(uri.path(), NOT_IN_LINK));
    target.push('?');
    for other in others.filter(|other| !is_page_token(other)) {
        target.extend(utf8_percent_encode(other, NOT_IN_LINK));
        target.push('&');
    }
    target.push_str("page_token=");
    target.push_str(token);
    target.push_str(">; rel=\"next\"");
    HeaderValue::try_from(target).ok()
}

fn is_page_token(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    decode(name).is_ok_and(|name| name == "page_token")
}

fn refused(outcome: QueryOutcome) -> Problem {
    match outcome {
        QueryOutcome::UnknownReadModel { known } => {
            Problem::new(&problem::NOT_FOUND, format!("there is no such read model, there are: {}", known.join(", ")))
        }
        QueryOutcome::InvalidKey { detail } => Problem::new(&problem::MALFORMED_REQUEST, detail),
        QueryOutcome::UnknownParameter { name, possible } => {
            Problem::new(&problem::UNKNOWN_PARAMETER, format!("there is no parameter {name:?}: {possible}"))
        }
        QueryOutcome::InvalidFilter { name, detail } => {
            Problem::new(&problem::INVALID_FILTER, format!("{name}: {detail}"))
        }
        QueryOutcome::InvalidPageToken { detail } => Problem::new(&problem::INVALID_PAGE_TOKEN, detail),
        QueryOutcome::NotYetConsistent { behind, age } => {
            let detail = "the read model lacks events that the token names: try again, or take what there is with \
                          Prefer: handling=lenient";
            let mut problem = Problem::unavailable(&problem::NOT_YET_CONSISTENT, Duration::from_secs(1), detail);
            consistency::write_stale(problem.headers(), behind, age);
            problem
        }
        QueryOutcome::EpochChanged => {
            let detail = "what the token names is not in this log, which was restored since or is another one: drop the \
                          token and read again";
            Problem::new(&problem::EPOCH_CHANGED, detail)
        }
        QueryOutcome::Unavailable { retry_after } => {
            Problem::unavailable(&problem::UNAVAILABLE, retry_after, "the rows cannot be read now: try again later")
        }
        _ => Problem::new(&problem::INTERNAL, "the server's log has the details under the trace id"),
    }
}
