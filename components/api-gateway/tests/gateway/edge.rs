use std::time::Duration;

use api_gateway::Config;
use query_service::Freshness;

use crate::fixture::{Fixture, OK, accepted, answered, get, page, post, request, row};

const ID: &str = "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn what_is_not_there_is_a_problem_that_says_what_is() {
    let fixture = Fixture::new();
    for target in
        ["/", "/nope", "/commands", "/commands/order/o-1", "/queries", "/queries/", "/errors/", "/errors/no-such"]
    {
        let problem = fixture.get(target).await.problem(404, "not-found");
        assert!(!problem["detail"].as_str().unwrap_or_default().is_empty(), "{target}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let fixture = Fixture::new();
    for (method, target, allow) in [
        ("GET", "/commands/order/o-1/place", "POST"),
        ("OPTIONS", "/commands/order/o-1/place", "POST"),
        ("POST", "/queries/sales", "GET, HEAD"),
        ("DELETE", "/queries/sales/a", "GET, HEAD"),
        ("PUT", "/errors/not-found", "GET, HEAD"),
    ] {
        let reply = fixture.send(request(method, target, &[], "")).await;
        reply.problem(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some(allow), "{method} {target}");
    }
}

#[tokio::test]
async fn every_code_has_a_page_and_every_page_a_code() {
    let fixture = Fixture::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
    let mut pages = 0;
    for page in std::fs::read_dir(folder).expect("the pages are in the repository") {
        let name = page.expect("a file").file_name().into_string().expect("a plain name");
        let code = name.strip_suffix(".md").expect("nothing but pages");
        let reply = fixture.get(&format!("/errors/{code}")).await;
        assert_eq!((reply.status(), reply.header("content-type")), (OK, Some("text/plain; charset=utf-8")), "{code}");
        assert!(reply.text().starts_with(&format!("# {code}\n")), "{code}");
        pages += 1;
    }
    assert!(pages > 0);
}

#[tokio::test]
async fn a_refusal_has_a_page_without_anybody_writing_one() {
    let fixture = Fixture::new();
    let reply = fixture.get("/errors/order.not-paid").await;
    assert!(reply.text().starts_with("# order.not-paid\n"));
    fixture.get("/errors/%3Cscript%3E.x").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_request_id_is_taken_when_it_is_one_and_made_otherwise() {
    for (sent, taken) in
        [(Some(ID), true), (Some("mine"), false), (Some("00000000-0000-0000-0000-000000000000"), false), (None, false)]
    {
        let fixture = Fixture::new();
        fixture.query_answers(answered(row("{}"), Freshness::Fresh));
        let headers: Vec<_> = sent.into_iter().map(|id| ("x-request-id", id)).collect();
        let reply = fixture.send(get("/queries/sales/a", &headers)).await;
        let id = reply.header("x-request-id").expect("always returned");
        assert_eq!(id == sent.unwrap_or_default(), taken, "{sent:?}");
        assert!(uuid::Uuid::try_parse(id).is_ok_and(|id| !id.is_nil()), "{id}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_when_it_came_well_formed_and_starts_with_the_request_otherwise() {
    let request_id = uuid::Uuid::try_parse(ID).expect("a UUID").as_u128();
    for (parents, trace_id, sampled) in [
        (&[PARENT][..], 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, true),
        (&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"], request_id, false),
        (&[PARENT, PARENT], request_id, false),
        (&[], request_id, false),
    ] {
        let fixture = Fixture::new();
        fixture.command_answers(accepted(true, false));
        let mut headers = vec![("x-request-id", ID)];
        headers.extend(parents.iter().map(|parent| ("traceparent", *parent)));
        fixture.send(post("/commands/order/o-1/place", &headers, "{}")).await;
        let trace = fixture.last_command().trace;
        assert_eq!((trace.trace_id, trace.sampled), (trace_id, sampled), "{parents:?}");
        assert_eq!(trace.parent_id != 0, trace_id != request_id);
    }
}

#[tokio::test]
async fn what_tracing_systems_say_goes_along_with_the_trace_that_it_is_about() {
    let parent = ("traceparent", PARENT);
    let (rojo, congo) = (("tracestate", "rojo=1"), ("tracestate", "congo=2"));
    for (headers, passed) in [
        (&[parent, rojo, congo][..], Some("rojo=1,congo=2")),
        (&[parent, ("tracestate", "rojo=1,=")], None),
        (&[parent], None),
        (&[rojo], None),
        (&[("traceparent", "00-0af7"), rojo], None),
    ] {
        let fixture = Fixture::new();
        fixture.command_answers(accepted(true, false));
        fixture
            .query_answers(answered(row("{}"), Freshness::Fresh))
            .query_answers(answered(page(&[], None), Freshness::Fresh));
        fixture.send(post("/commands/order/o-1/place", headers, "{}")).await;
        assert_eq!(fixture.last_command().tracestate.as_deref(), passed, "a command with {headers:?}");
        fixture.send(get("/queries/sales/a", headers)).await;
        assert_eq!(fixture.last_point().tracestate.as_deref(), passed, "a query with {headers:?}");
        fixture.send(get("/queries/sales", headers)).await;
        assert_eq!(fixture.last_list().tracestate.as_deref(), passed, "a list with {headers:?}");
    }
}

#[tokio::test]
async fn a_problem_names_the_trace_of_its_request() {
    let fixture = Fixture::new();
    let problem = fixture.send(get("/nope", &[("traceparent", PARENT)])).await.problem(404, "not-found");
    assert_eq!(problem["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn error_pages_can_live_elsewhere() {
    let config = Config { error_pages_url: "https://shop.example/errors/".into(), ..Config::default() };
    let reply = Fixture::with(config).get("/nope").await;
    assert_eq!(reply.json()["type"], "https://shop.example/errors/not-found");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_shed() {
    let fixture = Fixture::with(Config { requests_max: 1, ..Config::default() });
    fixture.after(Duration::from_secs(5)).command_answers(accepted(true, false));
    let mut gateway = fixture.gateway.clone();
    let mut slow = tower::Service::call(&mut gateway, post("/commands/order/o-1/place", &[], "{}"));
    assert!(futures_util::poll!(&mut slow).is_pending());
    let problem = fixture.get("/queries/sales/a").await.problem(503, "unavailable");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    drop(slow);
    fixture.get("/nope").await.problem(404, "not-found");
    assert!(fixture.metrics().contains("diptych_api_gateway_limited_total{policy=\"concurrency\"} 1"));
}

#[tokio::test]
async fn a_panic_behind_the_gateway_is_a_500_that_tells_nothing() {
    let fixture = Fixture::new();
    let reply = fixture.get("/queries/sales/panic").await;
    reply.problem(500, "internal");
    assert!(!reply.text().contains("a test asked for it"), "{}", reply.text());
    fixture.query_answers(answered(row("{}"), Freshness::Fresh));
    assert_eq!(fixture.get("/queries/sales/a").await.status(), OK, "and the next request is served");
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let fixture = Fixture::new();
    fixture.query_answers(answered(row("{}"), Freshness::Fresh)).get("/queries/sales/a").await;
    fixture.get("/nope").await;
    fixture.get("/nope").await;
    let metrics = fixture.metrics();
    for line in [
        "# UNIT diptych_api_gateway_request_duration_seconds seconds",
        "diptych_api_gateway_request_duration_seconds_count{route=\"/queries/{read_model}/{key}\",method=\"GET\",status=\"200\"} 1",
        "diptych_api_gateway_request_duration_seconds_count{route=\"unmatched\",method=\"GET\",status=\"404\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}\nin\n{metrics}");
    }
}

impl Fixture {
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics are text");
        text
    }
}
