//! The service across a network does what it does in process, and says what it knows when an instance is gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use command_service::{
    CommandEndpoint, CommandOutcome, CommandRequest, CommandService, Config, RemoteCommandService, UnavailableReason,
};
use futures_util::future::BoxFuture;
use runtime::{Runtime, Shutdown};
use testkit::conformance::command_service::{Request, Setup, Subject, failures};
use wire::{Answers, Caller, CallerLimits, Endpoint, Instances, ServerLimits, Unanswered};

use crate::support::service;

const PATIENCE: Duration = Duration::from_secs(10);

/// An instance, and what ends it.
struct Instance {
    address: String,
    is_ready: Arc<AtomicBool>,
    shutdown: Shutdown,
}

impl Instance {
    async fn start(service: Arc<dyn CommandService>) -> Self {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let (address, shutdown) = (endpoint.address().to_string(), Shutdown::new());
        let is_ready = Arc::new(AtomicBool::new(true));
        let asked = is_ready.clone();
        let answers = Arc::new(CommandEndpoint::new(service, move || asked.load(SeqCst)));
        let runtime = Runtime::tokio();
        let serving = wire::serve(endpoint, answers, ServerLimits::default(), runtime.clone(), shutdown.clone());
        drop(runtime.spawn("endpoint", serving));
        Self { address, is_ready, shutdown }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn remote(addresses: Vec<String>, patience: Duration) -> RemoteCommandService {
    let runtime = Runtime::tokio();
    let instances = Instances::new(addresses).expect("addresses");
    let caller = Caller::start(&runtime, instances, CallerLimits::default(), Shutdown::new());
    RemoteCommandService::new(runtime, caller, patience)
}

async fn start(setup: Setup) -> Subject {
    let config = Config {
        commands_under_way_max: setup.commands_under_way_max,
        command_events_max: setup.command_events_max,
        ..Config::default()
    };
    let service = service(&setup.runtime, config);
    let instance = Instance::start(Arc::new(service.executor)).await;
    Subject {
        service: Arc::new(remote(vec![instance.address.clone()], PATIENCE)),
        log: service.log,
        runtime: setup.runtime,
        keep: Box::new((service.directory, instance)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_across_a_network_does_what_every_command_service_must() {
    assert_eq!(failures(start, &Runtime::tokio()).await, []);
}

/// Says which instance was asked, or never answers.
struct Named(&'static str, Duration);

impl CommandService for Named {
    fn execute(&self, _request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        let (known, pause) = (vec![self.0.to_owned()], self.1);
        Box::pin(async move {
            Runtime::tokio().sleep(pause).await;
            CommandOutcome::UnknownCommand { known }
        })
    }
}

async fn asked(service: &RemoteCommandService, id: usize) -> CommandOutcome {
    service.execute(Request::open(&format!("account-{id}")).build()).await
}

fn by(name: &str) -> CommandOutcome {
    CommandOutcome::UnknownCommand { known: vec![name.to_owned()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_aggregates_commands_go_to_one_instance_and_to_another_when_it_ends() {
    let first = Instance::start(Arc::new(Named("first", Duration::ZERO))).await;
    let second = Instance::start(Arc::new(Named("second", Duration::ZERO))).await;
    let service = remote(vec![first.address.clone(), second.address.clone()], PATIENCE);
    let mut at_first = Vec::new();
    for id in 0..40 {
        let outcome = asked(&service, id).await;
        assert_eq!(asked(&service, id).await, outcome, "the same aggregate, the same instance");
        if outcome == by("first") {
            at_first.push(id);
        }
    }
    assert!((5..35).contains(&at_first.len()), "both take their share: {} of 40", at_first.len());
    // It says so first, and answers until it has been noticed.
    first.is_ready.store(false, SeqCst);
    for id in at_first.clone() {
        let outcome = asked(&service, id).await;
        assert!([by("first"), by("second")].contains(&outcome), "{outcome:?}");
    }
    assert_eq!(asked(&service, at_first[0]).await, by("second"));
    drop(first);
    for id in at_first {
        assert_eq!(asked(&service, id).await, by("second"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_for_one_aggregate_are_carried_in_calls_that_are_let_in() {
    let instance = Instance::start(Arc::new(Named("it", Duration::from_millis(200)))).await;
    let service = remote(vec![instance.address.clone()], PATIENCE);
    let fields = format!(r#"{{"owner":"{}"}}"#, "a".repeat(1024 * 1024 - 12));
    // The first is under way while the others, of more than one call may have together, come.
    let all = (0..13).map(|_| service.execute(Request::new("account-1", "open", &fields).build()));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(outcome, by("it"));
    }
}

#[allow(clippy::disallowed_types, reason = "an address that nobody else can get meanwhile")]
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_took_is_unavailable_and_one_without_an_answer_unknown() {
    // Bound, so that nobody else gets it, and not listened on.
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let gone = held.local_addr().expect("its address").to_string();
    let nobody = asked(&remote(vec![gone], PATIENCE), 1).await;
    let expected = UnavailableReason::Unreachable;
    assert!(matches!(nobody, CommandOutcome::Unavailable { reason, .. } if reason == expected), "{nobody:?}");
    let slow = Instance::start(Arc::new(Named("slow", PATIENCE))).await;
    let late = asked(&remote(vec![slow.address.clone()], Duration::from_millis(100)), 1).await;
    assert_eq!(late, CommandOutcome::Unknown);
}

/// Gives every command the same outcome.
struct Always(CommandOutcome);

impl CommandService for Always {
    fn execute(&self, _request: CommandRequest) -> BoxFuture<'static, CommandOutcome> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_an_ending_instance_has_not_begun_with_is_taken_by_another_one() {
    let draining =
        CommandOutcome::Unavailable { reason: UnavailableReason::Draining, retry_after: Duration::from_secs(1) };
    let ending = Instance::start(Arc::new(Always(draining))).await;
    let other = Instance::start(Arc::new(Named("other", Duration::ZERO))).await;
    // It still says that it is ready, so its aggregates are sent to it first.
    let service = remote(vec![ending.address.clone(), other.address.clone()], PATIENCE);
    for id in 0..10 {
        assert_eq!(asked(&service, id).await, by("other"));
    }
    let alone = asked(&remote(vec![ending.address.clone()], PATIENCE), 1).await;
    assert!(matches!(alone, CommandOutcome::Unavailable { .. }), "{alone:?}");
}

/// An instance that knows no call of ours.
struct Foreign;

impl Answers for Foreign {
    fn answer(&self, path: &str, _frame: Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>> {
        let found = format!("{path} is no call");
        Box::pin(async { Err(Unanswered::Refused(wire::Error::Frame { found })) })
    }

    fn is_ready(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_understood_has_done_nothing_and_is_not_of_unknown_outcome() {
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let (address, runtime, shutdown) = (endpoint.address().to_string(), Runtime::tokio(), Shutdown::new());
    let serving = wire::serve(endpoint, Arc::new(Foreign), ServerLimits::default(), runtime.clone(), shutdown.clone());
    drop(runtime.spawn("endpoint", serving));
    assert_eq!(asked(&remote(vec![address], PATIENCE), 1).await, CommandOutcome::Internal);
    shutdown.request();
}
