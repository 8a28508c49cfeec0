use std::{collections::BTreeMap, time::Duration};

use axum::body::Body;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use load_balancer::{LoadBalancer, Metrics};
use tower::ServiceExt;

use crate::support::{gateway, over};

const REQUESTS: usize = 10_000;

async fn name_of_answerer(load_balancer: &LoadBalancer) -> String {
    let response = load_balancer.clone().oneshot(Request::new(Body::empty())).await.expect("never fails");
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn three_gateways(metrics: &Metrics, takes: Duration) -> LoadBalancer {
    let named = |name: &'static str| {
        gateway(name, move |_| async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            Response::new(Body::from(name))
        })
    };
    over(vec![named("a"), named("b"), named("c")], metrics)
}

fn assert_even(answerers: Vec<String>) {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in answerers {
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), REQUESTS);
    for name in ["a", "b", "c"] {
        let share = counts.get(name).copied().unwrap_or(0) * 100 / REQUESTS;
        assert!((30..=36).contains(&share), "{counts:?}");
    }
}

#[tokio::test]
async fn requests_one_after_another_split_evenly_over_three_gateways() {
    let load_balancer = three_gateways(&Metrics::new(), Duration::ZERO);
    let mut answerers = Vec::new();
    for _ in 0..REQUESTS {
        answerers.push(name_of_answerer(&load_balancer).await);
    }
    assert_even(answerers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_split_evenly_over_three_gateways() {
    let load_balancer = three_gateways(&Metrics::new(), Duration::from_millis(1));
    let answerers = stream::iter(0..REQUESTS)
        .map(|_| {
            let load_balancer = load_balancer.clone();
            async move { tokio::spawn(async move { name_of_answerer(&load_balancer).await }).await.expect("no panic") }
        })
        .buffer_unordered(64)
        .collect()
        .await;
    assert_even(answerers);
}

#[tokio::test]
async fn a_gateway_that_is_not_ready_gets_nothing_and_is_used_again_once_it_is() {
    let metrics = Metrics::new();
    let instances: Vec<_> =
        ["a", "b"].map(|name| gateway(name, move |_| async move { Response::new(Body::from(name)) })).into();
    let load_balancer = over(instances.clone(), &metrics);

    instances[0].set_ready(false);
    for _ in 0..100 {
        assert_eq!(name_of_answerer(&load_balancer).await, "b");
    }
    instances[0].set_ready(true);
    instances[1].set_ready(false);
    assert_eq!(name_of_answerer(&load_balancer).await, "a");
}

#[tokio::test]
async fn a_busy_gateway_gets_less_than_an_idle_one() {
    let metrics = Metrics::new();
    let instances: Vec<_> =
        ["a", "b"].map(|name| gateway(name, move |_| async move { Response::new(Body::from(name)) })).into();
    let load_balancer = over(instances.clone(), &metrics);

    // Given an answer of one of the two that nobody has read to its end.
    let unread = load_balancer.clone().oneshot(Request::new(Body::empty())).await.expect("never fails");
    let busy = instances.iter().find(|instance| instance.in_flight() == 1).expect("one is busy").name();
    for _ in 0..100 {
        assert_ne!(name_of_answerer(&load_balancer).await, busy);
    }
    drop(unread);
    assert!(instances.iter().all(|instance| instance.in_flight() == 0));
}

#[tokio::test]
async fn a_request_given_up_is_no_longer_in_flight() {
    let metrics = Metrics::new();
    let instance = gateway("slow", |_| std::future::pending());
    let load_balancer = over(vec![instance.clone()], &metrics);
    let asked = load_balancer.oneshot(Request::new(Body::empty()));
    assert!(futures_util::FutureExt::now_or_never(asked).is_none());
    assert_eq!(instance.in_flight(), 0);
}
