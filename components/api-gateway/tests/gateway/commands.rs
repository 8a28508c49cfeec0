use std::time::Duration;

use api_gateway::Config;
use command_service::{CommandOutcome, Precondition, UnavailableReason};
use model::FieldError;
use serde_json::json;

use crate::fixture::{Fixture, OK, TRACE, accepted, post, request, token, version};

const PLACE: &str = "/commands/order/o-1/place";

#[tokio::test]
async fn an_accepted_command_is_answered_in_full() {
    let fixture = Fixture::new();
    let reply = fixture.command_answers(accepted(true, false)).send(post(PLACE, &[], r#"{"customer":"c-7"}"#)).await;
    assert_eq!(reply.status(), 201);
    assert_eq!(reply.header("etag"), Some("\"1\""));
    assert_eq!(reply.header("consistency-token"), Some(token(4711).to_string().as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("idempotency-replayed"), None);
    assert_eq!(
        reply.text(),
        format!(
            r#"{{"command_id":"00000000-0000-0000-0000-000000000001","stream":"order/o-1","version":1,"trace_id":"{TRACE}","events":[{{"id":"00000000-0000-0000-0000-000000000002","type":"order.placed.v1","version":1,"position":4711}}]}}"#
        )
    );
    let command = fixture.last_command();
    assert_eq!((&*command.aggregate, &*command.id, &*command.command), ("order", "o-1", "place"));
    assert_eq!(command.fields, r#"{"customer":"c-7"}"#);
    assert_eq!((command.precondition, command.idempotency), (Precondition::None, None));
}

#[tokio::test]
async fn a_command_on_an_existing_stream_is_200() {
    let fixture = Fixture::new();
    let reply = fixture.command_answers(accepted(false, false)).send(post(PLACE, &[], "{}")).await;
    assert_eq!(reply.status(), OK);
}

#[tokio::test]
async fn a_replay_is_the_same_answer_but_for_one_header() {
    let fixture = Fixture::new();
    fixture.command_answers(accepted(true, false)).command_answers(accepted(true, true));
    let key = [("idempotency-key", "\"k-1\"")];
    let first = fixture.send(post(PLACE, &key, "{}")).await;
    let again = fixture.send(post(PLACE, &key, "{}")).await;
    assert_eq!((first.status(), &first.body), (again.status(), &again.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    for name in ["etag", "consistency-token", "cache-control", "content-type"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
}

#[tokio::test]
async fn an_answer_without_events_names_no_trace_since_a_replay_could_not() {
    let fixture = Fixture::new();
    let outcome = match accepted(false, false) {
        CommandOutcome::Accepted { command_id, version, token, .. } => CommandOutcome::Accepted {
            command_id,
            version,
            created: false,
            events: Vec::new(),
            token,
            trace_id: None,
            replayed: false,
        },
        other => other,
    };
    let reply = fixture.command_answers(outcome).send(post(PLACE, &[], "{}")).await;
    assert_eq!(reply.json()["events"], json!([]));
    assert!(reply.json().get("trace_id").is_none());
}

#[tokio::test]
async fn every_outcome_has_its_status_and_code() {
    let second = Duration::from_secs(1);
    let unavailable = |reason| CommandOutcome::Unavailable { reason, retry_after: Duration::ZERO };
    let known = || vec!["order".to_owned(), "counter".to_owned()];
    let detail = || "because".to_owned();
    let error = || FieldError { pointer: "/lines/0".into(), detail: "expected an object".into() };
    for (outcome, status, code) in [
        (CommandOutcome::UnknownAggregate { known: known() }, 404, "not-found"),
        (CommandOutcome::UnknownCommand { known: known() }, 404, "not-found"),
        (CommandOutcome::InvalidId { detail: detail() }, 400, "malformed-request"),
        (CommandOutcome::Invalid { errors: vec![error()] }, 422, "invalid-command"),
        (CommandOutcome::PreconditionFailed { current: Some(version(3)) }, 412, "precondition-failed"),
        (CommandOutcome::VersionConflict { current: Some(version(3)) }, 409, "version-conflict"),
        (CommandOutcome::IdempotencyKeyReused, 422, "idempotency-key-reused"),
        (CommandOutcome::TooLarge { detail: detail() }, 413, "content-too-large"),
        (unavailable(UnavailableReason::Database), 503, "unavailable"),
        (unavailable(UnavailableReason::Draining), 503, "unavailable"),
        (unavailable(UnavailableReason::Overloaded), 503, "unavailable"),
        (unavailable(UnavailableReason::StorageFull), 503, "storage-full"),
        (CommandOutcome::Unknown, 504, "outcome-unknown"),
        (CommandOutcome::Internal, 500, "internal"),
    ] {
        let fixture = Fixture::new();
        let said = format!("{outcome:?}");
        let reply = fixture.after(second / 1000).command_answers(outcome).send(post(PLACE, &[], "{}")).await;
        let problem = reply.problem(status, code);
        let retryable = matches!(status, 503 | 504) || code == "version-conflict";
        assert_eq!(problem["retryable"], retryable, "{said}");
    }
}

#[tokio::test]
async fn shed_load_has_the_registered_type() {
    let fixture = Fixture::new();
    let reason = UnavailableReason::Overloaded;
    fixture.command_answers(CommandOutcome::Unavailable { reason, retry_after: Duration::from_millis(2500) });
    let reply = fixture.send(post(PLACE, &[], "{}")).await;
    let problem = reply.problem(503, "unavailable");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    assert_eq!(reply.header("retry-after"), Some("3"), "never too early");
}

#[tokio::test]
async fn a_refusal_of_the_domain_speaks_in_the_domains_words() {
    let fixture = Fixture::new();
    fixture.command_answers(CommandOutcome::Refused {
        code: "not-paid".into(),
        title: "The order is not paid".into(),
        detail: "order o-1 is not paid: pay it, then ship".into(),
        replayed: true,
    });
    let reply = fixture.send(post("/commands/order/o-1/ship", &[], "{}")).await;
    let problem = reply.problem(422, "order.not-paid");
    assert_eq!(problem["title"], "The order is not paid");
    assert_eq!(problem["detail"], "order o-1 is not paid: pay it, then ship");
    assert_eq!(reply.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn wrong_fields_are_named_by_their_pointers() {
    let fixture = Fixture::new();
    let errors = vec![FieldError { pointer: "/lines/0/quantity".into(), detail: "expected a whole number".into() }];
    let reply = fixture
        .command_answers(CommandOutcome::Invalid { errors })
        .send(post(PLACE, &[], r#"{"lines":[{"quantity":"two"}]}"#))
        .await;
    let problem = reply.problem(422, "invalid-command");
    assert_eq!(problem["errors"], json!([{ "pointer": "/lines/0/quantity", "detail": "expected a whole number" }]));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_malformed_and_not_merely_invalid() {
    for body in ["{", "{\"a\":1,}", "nope", "{} {}", "{\"a\":\"\u{1}\"}"] {
        let fixture = Fixture::new();
        let errors = vec![FieldError { pointer: String::new(), detail: "expected an object".into() }];
        let reply = fixture.command_answers(CommandOutcome::Invalid { errors }).send(post(PLACE, &[], body)).await;
        reply.problem(400, "malformed-request");
    }
}

#[tokio::test]
async fn a_body_that_nests_too_deep_never_reaches_the_service() {
    let fixture = Fixture::new();
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    fixture.send(post(PLACE, &[], &bomb)).await.problem(400, "malformed-request");
    assert!(fixture.services.commands.lock().expect("unlocked").is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let fixture = Fixture::with(Config { body_bytes_max: 10, ..Config::default() });
    fixture.send(post(PLACE, &[], "{\"a\":12345}")).await.problem(413, "content-too-large");
    fixture.send(post(PLACE, &[("content-length", "11")], "{}")).await.problem(413, "content-too-large");
    fixture.command_answers(accepted(true, false));
    assert_eq!(fixture.send(post(PLACE, &[], "{\"a\":1234}")).await.status(), 201, "exactly at the limit");
}

#[tokio::test]
async fn only_json_is_taken_and_nothing_at_all_is_fine() {
    let fixture = Fixture::new();
    fixture.send(request("POST", PLACE, &[], "{}")).await.problem(415, "unsupported-media-type");
    let packed = [("content-encoding", "gzip")];
    fixture.send(post(PLACE, &packed, "{}")).await.problem(415, "unsupported-media-type");
    fixture.command_answers(accepted(true, false));
    assert_eq!(fixture.send(request("POST", PLACE, &[], "")).await.status(), 201);
    assert_eq!(fixture.last_command().fields, "");
}

#[tokio::test]
async fn segments_are_decoded_and_their_text_must_be_whole() {
    let fixture = Fixture::new();
    fixture.command_answers(accepted(true, false));
    fixture.send(post("/commands/order/a%2Fb%20%C3%A4/place", &[], "{}")).await;
    assert_eq!(fixture.last_command().id, "a/b ä");
    for id in ["%", "%4", "%zz", "%ff"] {
        let reply = fixture.send(post(&format!("/commands/order/{id}/place"), &[], "{}")).await;
        reply.problem(400, "malformed-request");
    }
}

#[tokio::test]
async fn a_command_takes_no_parameters() {
    let fixture = Fixture::new();
    fixture.send(post(&format!("{PLACE}?dry_run=true"), &[], "{}")).await.problem(400, "unknown-parameter");
}

#[tokio::test]
async fn one_key_is_one_key_in_either_form_and_another_on_another_path() {
    let mut keys = Vec::new();
    for (path, key, body) in [
        (PLACE, "\"k-1\"", "{}"),
        (PLACE, "k-1", "{}"),
        ("/commands/order/o%2D1/place", "k-1", "{}"),
        (PLACE, "k-1", "{ }"),
        (PLACE, "\"k-2\"", "{}"),
        ("/commands/order/o-2/place", "k-1", "{}"),
    ] {
        let fixture = Fixture::new();
        fixture.command_answers(accepted(true, false)).send(post(path, &[("idempotency-key", key)], body)).await;
        keys.push(fixture.last_command().idempotency.expect("a key was sent"));
    }
    let [quoted, bare, encoded, other_body, other_key, other_path] = keys[..] else { panic!("six were sent") };
    assert_eq!(quoted, bare);
    assert_eq!(quoted, encoded);
    assert_eq!(quoted.key, other_body.key);
    assert_ne!(quoted.fingerprint, other_body.fingerprint);
    assert_ne!(quoted.key, other_key.key);
    assert_eq!(quoted.fingerprint, other_key.fingerprint);
    assert_ne!((quoted.key, quoted.fingerprint), (other_path.key, other_path.fingerprint));
    assert_ne!(quoted.key, other_path.key);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let long = "k".repeat(256);
    for key in ["", "\"\"", "\"unfinished", "\"a\" b", &long] {
        let fixture = Fixture::new();
        let reply = fixture.send(post(PLACE, &[("idempotency-key", key)], "{}")).await;
        reply.problem(400, "malformed-request");
    }
    let fixture = Fixture::new();
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    fixture.send(post(PLACE, &two, "{}")).await.problem(400, "malformed-request");
    let longest = "k".repeat(255);
    fixture.command_answers(accepted(true, false));
    assert_eq!(fixture.send(post(PLACE, &[("idempotency-key", &longest)], "{}")).await.status(), 201);
}

#[tokio::test]
async fn a_failed_precondition_says_at_which_version_the_stream_is() {
    let fixture = Fixture::new();
    fixture.command_answers(CommandOutcome::PreconditionFailed { current: Some(version(3)) });
    let reply = fixture.send(post("/commands/order/o-1/pay", &[("if-match", "\"1\"")], "{}")).await;
    let problem = reply.problem(412, "precondition-failed");
    assert_eq!(problem["current_version"], 3);
    assert_eq!(problem["detail"], "stream order/o-1 is at version 3, not 1: reload it and decide again");
    assert_eq!(reply.header("etag"), Some("\"3\""));
    assert_eq!(fixture.last_command().precondition, Precondition::Version(version(1)));
}

#[tokio::test]
async fn a_weak_tag_of_a_query_matches_no_stream() {
    let fixture = Fixture::new();
    fixture.command_answers(CommandOutcome::PreconditionFailed { current: None });
    let reply = fixture.send(post(PLACE, &[("if-match", "W/\"g3-4699\"")], "{}")).await;
    assert!(reply.problem(412, "precondition-failed")["current_version"].is_null());
    assert_eq!(fixture.last_command().precondition, Precondition::Never);
}

#[tokio::test]
async fn a_client_that_prefers_not_to_wait_learns_that_the_outcome_is_unknown() {
    let fixture = Fixture::new();
    fixture.after(Duration::from_secs(5)).command_answers(accepted(true, false));
    let reply = fixture.send(post(PLACE, &[("prefer", "wait=0, respond-async, sing")], "{}")).await;
    reply.problem(504, "outcome-unknown");
    assert_eq!(reply.header("preference-applied"), Some("wait=0"));
    assert_eq!(reply.header("vary"), Some("Prefer"));
}

#[tokio::test]
async fn a_command_without_an_answer_within_the_limit_is_unknown() {
    let fixture = Fixture::with(Config { time_limit: Duration::from_millis(20), ..Config::default() });
    fixture.after(Duration::from_secs(5)).command_answers(accepted(true, false));
    fixture.send(post(PLACE, &[], "{}")).await.problem(504, "outcome-unknown");
}
