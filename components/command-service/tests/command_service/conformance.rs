use std::sync::Arc;

use command_service::Config;
use runtime::Runtime;
use testkit::conformance::command_service::{Setup, Subject, broken, failures, promises};

use crate::support::service;

fn start(setup: Setup, config: Config) -> Subject {
    let config = Config {
        commands_under_way_max: setup.commands_under_way_max,
        command_events_max: setup.command_events_max,
        ..config
    };
    let service = service(&setup.runtime, config);
    Subject {
        service: Arc::new(service.executor),
        log: service.log,
        runtime: setup.runtime,
        keep: Box::new(service.directory),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executor_does_what_every_command_service_must() {
    let failures = failures(async |setup| start(setup, Config::default()), &Runtime::tokio()).await;
    assert_eq!(failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_beside_other_writers_too() {
    let config = Config { sole_writer: false, ..Config::default() };
    let failures = failures(async |setup| start(setup, config.clone()), &Runtime::tokio()).await;
    assert_eq!(failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_without_memory_for_states() {
    let config = Config { cache_bytes_max: 0, ..Config::default() };
    let failures = failures(async |setup| start(setup, config.clone()), &Runtime::tokio()).await;
    assert_eq!(failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_service_fails_the_test_of_its_promise_and_no_other() {
    let runtime = &Runtime::tokio();
    // At the same time: most of it is waiting for the disk.
    let all = broken::ALL.iter().map(async |broken| {
        let failures = failures(async |setup| broken.spoil(start(setup, Config::default())), runtime).await;
        let failed: Vec<_> = failures.iter().map(|failure| failure.test).collect();
        assert_eq!(failed, [broken.promise], "{failures:?}");
    });
    futures_util::future::join_all(all).await;
}

#[test]
fn each_promise_has_its_broken_service() {
    let broken: Vec<_> = broken::ALL.iter().map(|broken| broken.promise).collect();
    assert_eq!(promises(), broken);
}
