use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use wire::{Sending, Verdict};

use super::attempt::{Answer, Ended, NoAnswer};
use crate::refusal::Refusal;

/// What a request is, as far as sending it again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GET` and `HEAD`, which change nothing.
    Query,
    /// A `POST` that bears an `Idempotency-Key`, and takes effect once however often it arrives.
    Keyed,
    /// Anything else.
    Other,
}

impl Kind {
    pub(super) fn of(request: &Request<Body>) -> Self {
        match *request.method() {
            Method::GET | Method::HEAD => Self::Query,
            Method::POST if request.headers().contains_key("idempotency-key") => Self::Keyed,
            _ => Self::Other,
        }
    }

    pub(super) fn sending(self) -> Sending {
        if self == Self::Other { Sending::Once } else { Sending::Repeatable }
    }
}

/// A request to be sent again.
pub(super) struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Copy {
    pub(super) fn into_request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (self.method, self.uri, self.headers);
        request
    }
}

/// Reads a body that says it is short, and copies its request. Any other body passes on as it comes: how long it would be
/// held up is unknown, and its sender may wait for the answer to its beginning.
pub(super) async fn keep(request: Request<Body>, bytes_max: u64) -> Result<(Request<Body>, Option<Copy>), Refusal> {
    if request.body().size_hint().exact().is_none_or(|length| length > bytes_max) {
        return Ok((request, None));
    }
    let (head, body) = request.into_parts();
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        body.collect().await.map_err(|_| Refusal::Malformed("the body broke off"))?.to_bytes()
    };
    let (method, uri, headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
    let copy = Copy { method, uri, headers, body: body.clone() };
    Ok((Request::from_parts(head, Body::from(body)), Some(copy)))
}

/// Whether a request may be sent once more to another instance.
pub(super) fn is_allowed(kind: Kind, ended: &Ended) -> bool {
    match (kind, ended) {
        (_, Err(NoAnswer::BodyBroke)) => false,
        (_, Err(NoAnswer::NotSent)) => true,
        // Without an answer this load balancer would have to answer with 504 itself.
        (Kind::Query | Kind::Keyed, Err(NoAnswer::Lost | NoAnswer::Late)) => true,
        (Kind::Query, Ok(answer)) => answer.verdict == Verdict::Failed || is_gateways(answer),
        (Kind::Keyed, Ok(answer)) => is_gateways(answer),
        (Kind::Other, _) => false,
    }
}

/// Whether an answer is one of those that gateways give for others. One that came so soon because its user wanted no more
/// patience is not: he has waited for long enough.
fn is_gateways(answer: &Answer) -> bool {
    match answer.response.status() {
        StatusCode::BAD_GATEWAY => true,
        StatusCode::GATEWAY_TIMEOUT => !answer.response.headers().contains_key("preference-applied"),
        _ => false,
    }
}

/// Of two attempts, the one whose end the user hears.
///
/// The first attempt of a command may have been carried out. That the second one was not is no news then, so it counts only
/// if it says what became of the command.
pub(super) fn better(kind: Kind, first: Ended, second: Ended) -> Ended {
    let nothing_was_done = matches!(first, Err(NoAnswer::NotSent));
    let is_known = |response: &Response<Body>| {
        let status = response.status();
        status.as_u16() < 500 && ![StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
    };
    match (kind, second) {
        (Kind::Query, Ok(second)) => Ok(second),
        (Kind::Query, Err(_)) => first,
        (_, second) if nothing_was_done => second,
        (_, Ok(second)) if is_known(&second.response) => Ok(second),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, verdict: Verdict) -> Ended {
        let response = Response::builder().status(status).body(Body::empty()).expect("a response");
        Ok(Answer { response, verdict })
    }

    fn request(method: Method, key: Option<&str>) -> Request<Body> {
        let mut request = Request::builder().method(method);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request.body(Body::empty()).expect("a request")
    }

    /// What is heard of an end: its status, or why there is none.
    fn heard(ended: &Ended) -> Result<u16, NoAnswer> {
        ended.as_ref().map(|answer| answer.response.status().as_u16()).map_err(|why| *why)
    }

    #[test]
    fn a_key_is_what_makes_a_command_repeatable() {
        for (method, key, kind) in [
            (Method::GET, None, Kind::Query),
            (Method::HEAD, Some("k"), Kind::Query),
            (Method::POST, Some("k"), Kind::Keyed),
            (Method::POST, None, Kind::Other),
            (Method::PUT, Some("k"), Kind::Other),
            (Method::OPTIONS, None, Kind::Other),
        ] {
            assert_eq!(Kind::of(&request(method.clone(), key)), kind, "{method}, {key:?}");
        }
    }

    #[test]
    fn what_may_be_sent_again_depends_on_how_it_ended() {
        use Kind::{Keyed, Other, Query};
        for (ended, allowed) in [
            (Err(NoAnswer::NotSent), vec![Query, Keyed, Other]),
            (Err(NoAnswer::Lost), vec![Query, Keyed]),
            (Err(NoAnswer::Late), vec![Query, Keyed]),
            (Err(NoAnswer::BodyBroke), vec![]),
            (answered(200, Verdict::Well), vec![]),
            (answered(404, Verdict::Well), vec![]),
            (answered(429, Verdict::Nothing), vec![]),
            (answered(500, Verdict::Failed), vec![Query]),
            (answered(500, Verdict::Nothing), vec![]),
            (answered(502, Verdict::Failed), vec![Query, Keyed]),
            (answered(503, Verdict::Failed), vec![Query]),
            (answered(503, Verdict::Nothing), vec![]),
            (answered(504, Verdict::Nothing), vec![Query, Keyed]),
        ] {
            for kind in [Query, Keyed, Other] {
                assert_eq!(is_allowed(kind, &ended), allowed.contains(&kind), "{kind:?} after {:?}", heard(&ended));
            }
        }
    }

    #[test]
    fn a_user_who_set_the_time_does_not_wait_for_it_twice() {
        let mut ended = answered(504, Verdict::Nothing);
        if let Ok(answer) = &mut ended {
            let applied = http::HeaderValue::from_static("wait=1");
            answer.response.headers_mut().insert("preference-applied", applied);
        }
        assert!(!is_allowed(Kind::Keyed, &ended));
    }

    #[test]
    fn a_command_that_may_have_been_carried_out_is_not_said_to_have_failed() {
        use Kind::{Keyed, Other, Query};
        let well = || answered(200, Verdict::Well);
        let unknown = || answered(504, Verdict::Nothing);
        for (kind, first, second, expected) in [
            (Query, Err(NoAnswer::Lost), well(), Ok(200)),
            (Query, answered(500, Verdict::Failed), answered(503, Verdict::Nothing), Ok(503)),
            (Query, answered(500, Verdict::Failed), Err(NoAnswer::Lost), Ok(500)),
            (Keyed, Err(NoAnswer::Lost), well(), Ok(200)),
            (Keyed, unknown(), well(), Ok(200)),
            (Keyed, unknown(), answered(422, Verdict::Well), Ok(422)),
            (Keyed, unknown(), answered(409, Verdict::Well), Ok(504)),
            (Keyed, unknown(), answered(429, Verdict::Nothing), Ok(504)),
            (Keyed, unknown(), answered(503, Verdict::Nothing), Ok(504)),
            (Keyed, unknown(), Err(NoAnswer::NotSent), Ok(504)),
            (Keyed, Err(NoAnswer::Late), answered(503, Verdict::Nothing), Err(NoAnswer::Late)),
            (Keyed, Err(NoAnswer::NotSent), answered(503, Verdict::Nothing), Ok(503)),
            (Other, Err(NoAnswer::NotSent), Err(NoAnswer::Lost), Err(NoAnswer::Lost)),
            (Other, Err(NoAnswer::NotSent), well(), Ok(200)),
        ] {
            let both = format!("{kind:?}: {:?}, then {:?}", heard(&first), heard(&second));
            assert_eq!(heard(&better(kind, first, second)), expected, "{both}");
        }
    }

    #[tokio::test]
    async fn a_body_is_kept_where_it_says_that_it_is_short() {
        let long = vec![7; 11];
        let streamed = Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("abc")]));
        for (body, is_kept) in [
            (Body::empty(), true),
            (Body::from(long[..10].to_vec()), true),
            (Body::from(long), false),
            (streamed, false),
        ] {
            let sent =
                Request::builder().method(Method::POST).uri("/a?b").header("x", "y").body(body).expect("a request");
            let Ok((passed, copy)) = keep(sent, 10).await else { panic!("its body is whole") };
            assert_eq!(copy.is_some(), is_kept);
            let passed = passed.into_body().collect().await.expect("a body").to_bytes();
            if let Some(copy) = copy.map(Copy::into_request) {
                assert_eq!((copy.method(), copy.uri().to_string().as_str()), (&Method::POST, "/a?b"));
                assert_eq!(copy.headers()["x"], "y");
                assert_eq!(copy.into_body().collect().await.expect("a body").to_bytes(), passed);
            }
        }
    }
}
