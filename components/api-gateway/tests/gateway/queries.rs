use std::time::Duration;

use api_gateway::Config;
use model::EpochId;
use query_service::{Body as Found, Freshness, Handling, QueryOutcome};
use uuid::Uuid;

use crate::fixture::{Fixture, OK, answered, get, page, request, row, token};

const ROW: &str = r#"{"invoice":"o-1","total":"9.000"}"#;
const POINT: &str = "/queries/order_summary/o-1";
const LIST: &str = "/queries/order_summary";

fn fresh_row() -> QueryOutcome {
    answered(row(ROW), Freshness::Fresh)
}

#[tokio::test]
async fn a_row_is_answered_as_it_was_stored() {
    let fixture = Fixture::new();
    let reply = fixture.query_answers(fresh_row()).get(POINT).await;
    assert_eq!((reply.status(), reply.text()), (OK, ROW));
    for (name, value) in [
        ("content-type", "application/json"),
        ("etag", "W/\"g3-4699\""),
        ("cache-control", "private, no-cache"),
        ("vary", "Prefer, Consistency-Token, Accept, Authorization"),
        ("consistency-token", &token(4711).to_string()),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert_eq!(reply.header("consistency"), None, "absent when there is nothing to report");
    let query = fixture.last_point();
    assert_eq!((&*query.read_model, &*query.key), ("order_summary", "o-1"));
    assert_eq!(query.consistency.token, None);
    assert_eq!((query.consistency.handling, query.consistency.wait), (Handling::Strict, Duration::from_secs(2)));
}

#[tokio::test]
async fn a_key_reaches_the_service_as_it_was_encoded() {
    let fixture = Fixture::new();
    fixture.query_answers(fresh_row()).get("/queries/sales/a%2Fb/BANK%20CHARGES").await;
    assert_eq!(fixture.last_point().key, "a%2Fb/BANK%20CHARGES");
    for key in ["%", "%2", "a%zz"] {
        fixture.get(&format!("/queries/sales/{key}")).await.problem(400, "malformed-request");
    }
}

#[tokio::test]
async fn every_outcome_has_its_status_and_code() {
    let text = || "what is wrong".to_owned();
    for (outcome, status, code) in [
        (answered(Found::NoRow, Freshness::Fresh), 404, "not-found"),
        (QueryOutcome::UnknownReadModel { known: vec!["sales".into()] }, 404, "not-found"),
        (QueryOutcome::InvalidKey { detail: text() }, 400, "malformed-request"),
        (QueryOutcome::UnknownParameter { name: text(), possible: text() }, 400, "unknown-parameter"),
        (QueryOutcome::InvalidFilter { name: text(), detail: text() }, 400, "invalid-filter"),
        (QueryOutcome::InvalidPageToken { detail: text() }, 400, "invalid-page-token"),
        (QueryOutcome::NotYetConsistent { behind: 12, age: Duration::from_secs(2) }, 503, "not-yet-consistent"),
        (QueryOutcome::EpochChanged, 409, "epoch-changed"),
        (QueryOutcome::Unavailable { retry_after: Duration::ZERO }, 503, "unavailable"),
        (QueryOutcome::Internal, 500, "internal"),
    ] {
        for target in [POINT, LIST] {
            let fixture = Fixture::new();
            let reply = fixture.query_answers(outcome.clone()).get(target).await;
            let problem = reply.problem(status, code);
            assert_eq!(problem["retryable"], status == 503, "{outcome:?}");
            assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
        }
    }
}

#[tokio::test]
async fn a_missing_row_still_tells_how_far_the_read_model_is() {
    let fixture = Fixture::new();
    let stale = Freshness::Stale { behind: 3, age: Duration::from_millis(1040) };
    let reply = fixture.query_answers(answered(Found::NoRow, stale)).get(POINT).await;
    reply.problem(404, "not-found");
    assert_eq!(reply.header("consistency-token"), Some(token(4711).to_string().as_str()));
    assert_eq!(reply.header("consistency"), Some("stale;behind=3;age=1.0"));
}

#[tokio::test]
async fn a_stale_answer_says_how_stale() {
    for (behind, age, header) in [
        (12, 2100, "stale;behind=12;age=2.1"),
        (0, 65_000, "stale;age=65.0"),
        (u64::MAX, 0, "stale;behind=999999999999999;age=0.0"),
    ] {
        let fixture = Fixture::new();
        let stale = Freshness::Stale { behind, age: Duration::from_millis(age) };
        let reply = fixture.query_answers(answered(row(ROW), stale)).get(POINT).await;
        assert_eq!((reply.status(), reply.header("consistency")), (OK, Some(header)));
        sfv::Parser::new(header).parse::<sfv::Item>().expect("an item of RFC 9651");
    }
}

#[tokio::test]
async fn a_refusal_for_staleness_says_how_stale_too() {
    let fixture = Fixture::new();
    let age = Duration::from_millis(2100);
    let reply = fixture.query_answers(QueryOutcome::NotYetConsistent { behind: 12, age }).get(POINT).await;
    reply.problem(503, "not-yet-consistent");
    assert_eq!(reply.header("consistency"), Some("stale;behind=12;age=2.1"));
}

#[tokio::test]
async fn a_token_is_taken_from_header_or_parameter() {
    let sent = token(9).to_string();
    let parameter = format!("{POINT}?consistency_token={sent}");
    let list = format!("{LIST}?status=eq.placed&consistency_token={sent}");
    for (target, headers) in [
        (POINT, &[("consistency-token", &*sent)][..]),
        (&parameter, &[]),
        (&parameter, &[("consistency-token", &*sent)]),
    ] {
        let fixture = Fixture::new();
        fixture.query_answers(fresh_row()).send(get(target, headers)).await;
        assert_eq!(fixture.last_point().consistency.token, Some(token(9)));
    }
    let fixture = Fixture::new();
    fixture.query_answers(answered(page(&[], None), Freshness::Fresh)).get(&list).await;
    let query = fixture.last_list();
    assert_eq!(query.consistency.token, Some(token(9)));
    assert_eq!(query.parameters, [("status".to_owned(), "eq.placed".to_owned())]);
}

#[tokio::test]
async fn a_token_that_is_none_of_ours_is_refused() {
    let sent = token(9).to_string();
    let other = token(10).to_string();
    let tampered = format!("{}!", &sent[..sent.len() - 1]);
    for header in ["", "v1.", "v2.AAAA", "4711", &tampered, &sent[..30]] {
        let fixture = Fixture::new();
        let reply = fixture.send(get(POINT, &[("consistency-token", header)])).await;
        reply.problem(400, "invalid-consistency-token");
    }
    for (target, headers) in [
        (format!("{POINT}?consistency_token={sent}"), vec![("consistency-token", &*other)]),
        (format!("{POINT}?consistency_token={sent}&consistency_token={other}"), vec![]),
        (format!("{LIST}?consistency_token="), vec![]),
        (POINT.to_owned(), vec![("consistency-token", &*sent), ("consistency-token", &*other)]),
    ] {
        let fixture = Fixture::new();
        fixture.send(get(&target, &headers)).await.problem(400, "invalid-consistency-token");
    }
}

#[tokio::test]
async fn preferences_of_consistency_are_followed_and_confirmed() {
    let fixture = Fixture::new();
    let headers = [("prefer", "handling=lenient, wait=1")];
    let reply = fixture.query_answers(fresh_row()).send(get(POINT, &headers)).await;
    assert_eq!(reply.header("preference-applied"), Some("handling=lenient, wait=1"));
    let consistency = fixture.last_point().consistency;
    assert_eq!((consistency.handling, consistency.wait), (Handling::Lenient, Duration::from_secs(1)));
    let reply = fixture.query_answers(fresh_row()).send(get(POINT, &[("prefer", "wait=3600")])).await;
    assert_eq!(fixture.last_point().consistency.wait, Duration::from_secs(30));
    assert_eq!(reply.header("preference-applied"), Some("wait=30"));
}

#[tokio::test]
async fn what_a_client_has_seen_is_not_sent_again() {
    for (tags, seen) in [
        ("W/\"g3-4699\"", true),
        ("\"g3-4699\"", true),
        ("W/\"g1-1\", W/\"g3-4699\"", true),
        ("*", true),
        ("W/\"g2-4699\"", false),
        ("W/\"g3-4698\"", false),
    ] {
        let fixture = Fixture::new();
        let reply = fixture.query_answers(fresh_row()).send(get(POINT, &[("if-none-match", tags)])).await;
        assert_eq!(reply.status(), if seen { 304 } else { OK }, "{tags}");
        assert_eq!(reply.body.is_empty(), seen);
        for name in ["etag", "cache-control", "vary", "consistency-token"] {
            assert!(reply.header(name).is_some(), "{name} of {tags}");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    for target in [POINT, LIST, "/queries/order_summary/none", "/errors/not-found"] {
        let outcome = || match target {
            POINT => fresh_row(),
            LIST => answered(page(&[ROW], None), Freshness::Fresh),
            _ => answered(Found::NoRow, Freshness::Fresh),
        };
        let fixture = Fixture::new();
        let id = ("x-request-id", "0199ab10-5c1e-7d04-9e6b-2f6d1c0a9b11");
        fixture.query_answers(outcome()).query_answers(outcome());
        let full = fixture.send(get(target, &[id])).await;
        let head = fixture.send(request("HEAD", target, &[id], "")).await;
        assert_eq!(head.status(), full.status());
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), Some(full.body.len().to_string().as_str()));
        for (name, value) in full.response.headers() {
            assert_eq!(head.response.headers().get(name), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_no_json_gets_no_row() {
    let fixture = Fixture::new();
    for target in [POINT, LIST] {
        fixture.send(get(target, &[("accept", "text/html")])).await.problem(406, "not-acceptable");
    }
}

#[tokio::test]
async fn a_read_of_one_row_has_no_parameters_of_lists() {
    let fixture = Fixture::new();
    let reply = fixture.get(&format!("{POINT}?status=eq.placed")).await;
    let problem = reply.problem(400, "unknown-parameter");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("consistency_token")));
}

#[tokio::test]
async fn a_page_is_its_rows_and_where_the_next_one_starts() {
    let fixture = Fixture::new();
    let target =
        format!("{LIST}?status=eq.placed&order_by=placed_at%20desc&page_size=1&page_token=p1.old&q={{a|b}}%3e");
    let outcome = answered(page(&["{\"a\":1}", "{\"a\":2}"], Some("p1.Zm9v")), Freshness::Fresh);
    let reply = fixture.query_answers(outcome).get(&target).await;
    assert_eq!(reply.text(), r#"{"rows":[{"a":1},{"a":2}],"next_page_token":"p1.Zm9v"}"#);
    assert_eq!(
        reply.header("link"),
        Some(
            "</queries/order_summary?status=eq.placed&order_by=placed_at%20desc&page_size=1&q=%7Ba%7Cb%7D%3e\
             &page_token=p1.Zm9v>; rel=\"next\""
        )
    );
    assert_eq!(reply.header("etag"), Some("W/\"g3-4711\""), "a page is as old as the checkpoint");
}

#[tokio::test]
async fn the_last_page_names_no_next_one() {
    let fixture = Fixture::new();
    let reply = fixture.query_answers(answered(page(&[], None), Freshness::Fresh)).get(LIST).await;
    assert_eq!((reply.text(), reply.header("link")), (r#"{"rows":[]}"#, None));
}

#[tokio::test]
async fn parameters_of_a_list_are_decoded_in_order() {
    let fixture = Fixture::new();
    let target = format!("{LIST}?name=eq.a%20b&name=neq.c+d&order_by=total&flag");
    fixture.query_answers(answered(page(&[], None), Freshness::Fresh)).get(&target).await;
    let sent = fixture.last_list().parameters;
    let expected = [("name", "eq.a b"), ("name", "neq.c d"), ("order_by", "total"), ("flag", "")];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    fixture.get(&format!("{LIST}?name=eq.%ff")).await.problem(400, "malformed-request");
}

#[tokio::test]
async fn a_query_without_an_answer_in_time_is_unavailable() {
    let time_limit = Duration::from_millis(20);
    let fixture = Fixture::with(Config { time_limit, wait_default: Duration::ZERO, ..Config::default() });
    fixture.after(Duration::from_secs(5)).query_answers(fresh_row());
    fixture.get(POINT).await.problem(503, "unavailable");
}

#[tokio::test]
async fn an_empty_log_has_no_token() {
    let fixture = Fixture::new();
    let QueryOutcome::Answered(mut answer) = answered(page(&[], None), Freshness::Fresh) else { panic!("answered") };
    answer.token = None;
    answer.body = Found::Page { rows: Vec::new(), next_page_token: None, position: None };
    let reply = fixture.query_answers(QueryOutcome::Answered(answer)).get(LIST).await;
    assert_eq!((reply.header("consistency-token"), reply.header("etag")), (None, Some("W/\"g3-0\"")));
    assert_ne!(token(1).epoch, EpochId(Uuid::nil()));
}
