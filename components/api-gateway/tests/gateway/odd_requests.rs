//! Whatever a client sends is answered, and that it makes no sense is the client's mistake, not the server's.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;
use query_service::Freshness;

use crate::fixture::{Fixture, accepted, answered, page, row};

/// What says how a request is to be understood.
const HEADERS: [&str; 8] = [
    "consistency-token",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "prefer",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// What can make it a request that is not understood at all.
const BODY_HEADERS: [&str; 4] = ["accept", "content-encoding", "content-length", "content-type"];

/// Method and target. What no client can send as an address is left out.
fn targets() -> impl Strategy<Value = (Method, Uri)> {
    let command = "/commands(/([a-z0-9]|%[0-9a-f]{2}|\\PC){1,4}){3}(\\?[a-z=]{0,2})?";
    let query = "/queries/sales(/([a-z0-9]|%[0-9a-f]{2}|\\PC){1,4}){0,2}\
                 (\\?((consistency_token|order_by|page_size|status)=([a-z0-9.%+ ]|\\PC){0,6}&?){1,3})?";
    let whatever = "(/commands|/queries|/errors)?/([ -~]|\\PC|%[0-9a-f]?){0,20}";
    let methods = prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS]);
    let target = prop_oneof![
        3 => (Just(Method::POST), command),
        3 => (Just(Method::GET), query),
        1 => (methods, whatever),
    ];
    target.prop_filter_map("no address", |(method, target)| Some((method, Uri::try_from(target.as_bytes()).ok()?)))
}

fn values() -> impl Strategy<Value = HeaderValue> {
    let likely = prop::sample::select(vec![
        "\"3\"",
        "\"3\", W/\"g1-3\"",
        "*",
        "\"k-1\";a",
        "k-1",
        "wait=3, handling=lenient",
        "v1.AaIJuzLFfSSMaH0pOYq_5QAAAAAAAAAB",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "rojo=1,congo=2",
        "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11",
        "application/json",
        "18446744073709551616",
    ]);
    let bytes = prop_oneof![
        3 => likely.prop_map(|text| text.as_bytes().to_vec()),
        1 => "[ -~]{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    bytes.prop_filter_map("no header value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn headers(names: &'static [&'static str]) -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    (prop::sample::select(names).prop_map(HeaderName::from_static), values())
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(b"{\"customer\":\"c-7\"}".to_vec()),
        1 => Just(Vec::new()),
        1 => "[\\[\\]{}:,\"a1]{0,300}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ]
}

fn requests() -> impl Strategy<Value = Request<Body>> {
    let about_the_body = prop_oneof![
        4 => Just((http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))),
        1 => headers(&BODY_HEADERS),
    ];
    let headers = prop::collection::vec(headers(&HEADERS), 0..4);
    (targets(), about_the_body, headers, bodies()).prop_map(|((method, target), about_the_body, headers, body)| {
        let mut request = Request::new(Body::from(body));
        (*request.method_mut(), *request.uri_mut()) = (method, target);
        for (name, value) in headers.into_iter().chain([about_the_body]) {
            request.headers_mut().append(name, value);
        }
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_answered_with_a_fault_of_the_server(request in requests()) {
        let threads = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _inside = threads.enter();
        let fixture = Fixture::new();
        let found = if request.uri().path().matches('/').count() > 2 { row("{}") } else { page(&["{}"], Some("p1.AA")) };
        fixture.command_answers(accepted(true, false)).query_answers(answered(found, Freshness::Fresh));
        let (seen, is_head) = (format!("{request:?}"), request.method() == Method::HEAD);
        let reply = threads.block_on(fixture.send(request));
        prop_assert!(reply.status() < 500, "{} to {seen}: {reply:?}", reply.status());
        if reply.status() >= 400 && !is_head {
            let code = reply.json()["code"].as_str().expect("a problem has a code").to_owned();
            reply.problem(reply.status(), &code);
        }
    }
}
