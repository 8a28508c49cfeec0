//! Whatever a client asks of a whole system is answered, and nothing it sends makes the system fail.

use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    client::Client,
    system::{System, assert_verified},
};

const REQUESTS: u32 = 1000;

/// A request: method, target and body.
#[derive(Clone, Debug)]
struct Odd {
    method: &'static str,
    target: String,
    body: String,
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{0,4}",
        "-?[0-9]{1,30}(\\.[0-9]{0,30})?",
        "(-?[0-9]{4,6}-[0-9]{2}-[0-9]{2})(T[0-9:.]{0,12}Z?)?",
        any::<String>(),
        Just("\u{0}".to_owned()),
        Just("'; DROP TABLE events; --".to_owned()),
        // Longer than any key, name or id may be.
        "[a-zé]{1,8}".prop_map(|text| text.repeat(80)),
    ]
}

fn lists() -> impl Strategy<Value = Odd> {
    let likely = prop_oneof![
        "(eq|neq|gt|gte|lt|lte)\\.-?[0-9]{1,18}(\\.[0-9]{1,3})?",
        "(eq|gt|lte)\\.[0-9]{4}-0[1-9]-1[0-9](T0[0-9]:00)?",
        "in\\.\\(([a-z0-9]{0,4},|\"[a-z,()]{0,4}\",){0,9}[0-9]{0,3}\\)",
        Just("is.null".to_owned()),
    ];
    let filter = prop_oneof![
        2 => likely.boxed(),
        1 => ("eq|neq|gt|gte|lt|lte|in|is|like", texts()).prop_map(|(operator, text)| format!("{operator}.{text}")).boxed(),
    ];
    // What can be filtered in some read model, and what in none.
    let filters = ("status|customer|country|placed_at|total|as_of", filter);
    let others = prop_oneof![
        ("order_by", "(status|total|placed_at)( asc| desc)?(,country)?"),
        ("page_size", "[0-9]{1,25}"),
        ("page_token|consistency_token|order_by|page_size|[a-z]{1,3}", texts()),
    ];
    let parameters = (prop::collection::vec(filters, 0..3), prop::option::of(others));
    ("order_summary|order_summary|country_sales|[a-z]{1,3}", parameters).prop_map(|(read_model, (filters, other))| {
        let parameters: Vec<_> =
            filters.iter().chain(&other).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        Odd { method: "GET", target: format!("/queries/{read_model}?{}", parameters.join("&")), body: String::new() }
    })
}

fn rows() -> impl Strategy<Value = Odd> {
    ("order_summary|daily_sales|[a-z]{1,3}", prop::collection::vec(texts(), 1..3)).prop_map(|(read_model, parts)| {
        let parts: Vec<_> = parts.iter().map(|part| encoded(part)).collect();
        Odd { method: "GET", target: format!("/queries/{read_model}/{}", parts.join("/")), body: String::new() }
    })
}

fn commands() -> impl Strategy<Value = Odd> {
    let json = prop_oneof![
        texts().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ]
    .boxed();
    let line = (json.clone(), json.clone(), json.clone(), json.clone()).prop_map(|(stock_code, quantity, price, time)| {
        serde_json::json!({ "stock_code": stock_code, "quantity": quantity, "price": price, "time": time })
    });
    let usual =
        serde_json::json!({ "stock_code": "22041", "quantity": 2, "price": "2.100", "time": "2009-12-01T07:45" });
    let line = prop_oneof![line.boxed(), Just(usual).boxed()];
    let body = prop_oneof![
        (texts(), prop::collection::vec(line, 0..4))
            .prop_map(|(country, lines)| serde_json::json!({ "country": country, "lines": lines }).to_string()),
        "[\\[\\]{}:,\"a1]{0,200}",
    ];
    let command = prop_oneof![
        Just("order/{}/place"),
        Just("order/{}/pay"),
        Just("credit_note/{}/issue"),
        Just("adjustment/{}/record"),
        Just("nothing/{}/happens"),
    ];
    (command, texts(), body).prop_map(|(command, id, body)| Odd {
        method: "POST",
        target: format!("/commands/{}", command.replace("{}", &encoded(&id))),
        body,
    })
}

#[test]
fn no_request_makes_the_system_fail() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path());
    let config = ProptestConfig { cases: REQUESTS, failure_persistence: None, ..ProptestConfig::default() };
    let odd = prop_oneof![3 => lists(), 1 => rows(), 2 => commands()];
    let ran = TestRunner::new(config).run(&odd, |Odd { method, target, body }| {
        // Some refusals end their connection.
        let mut client = Client::new(system.api);
        let headers = [("Content-Type", "application/json")];
        let answer = client.send(method, &target, &headers, &body).expect("answered");
        prop_assert!(answer.status < 500, "{} {}", answer.status, answer.body);
        Ok(())
    });
    ran.expect("every request is answered, and by no fault of the server");
    system.wait_until_caught_up();
    let status = system.status();
    let held = |projection: &serde_json::Value| !projection["held"].is_null();
    assert!(!status["projections"].as_array().is_some_and(|all| all.iter().any(held)), "{status:#}");
    assert_eq!(system.stop(), Some(0));
    assert_verified(directory.path());
}
