//! Calls between two ends of this process, over real sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "talks to sockets, as an edge does")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use runtime::{Runtime, Shutdown};
use wire::{Answers, CallError, Caller, CallerLimits, Endpoint, Error, Instances, ServerLimits, serve};

const PATIENCE: Duration = Duration::from_secs(5);

/// Answers what it was sent, after a pause.
#[derive(Default)]
struct Echo {
    pause: Duration,
    is_ending: AtomicBool,
    asked: AtomicUsize,
}

impl Answers for Echo {
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, Error>> {
        self.asked.fetch_add(1, SeqCst);
        let (pause, is_known) = (self.pause, path == "/echo");
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            if is_known { Ok(frame) } else { Err(Error::Frame { found: "no such call".to_owned() }) }
        })
    }

    fn is_ready(&self) -> bool {
        !self.is_ending.load(SeqCst)
    }
}

struct Pair {
    address: SocketAddr,
    echo: Arc<Echo>,
    caller: Caller,
    shutdown: Shutdown,
    served: runtime::Task<()>,
}

fn pair(echo: Echo, limits: ServerLimits) -> Pair {
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let (address, echo) = (endpoint.address(), Arc::new(echo));
    let instances = Instances::new(vec![address.to_string()]).expect("an address");
    let caller = Caller::start(&runtime, instances, CallerLimits::default(), Shutdown::new());
    let served = runtime.spawn("server", serve(endpoint, echo.clone(), limits, runtime.clone(), shutdown.clone()));
    Pair { address, echo, caller, shutdown, served }
}

#[tokio::test]
async fn plain_text_is_spoken_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Endpoint::bind(address.parse().expect("an address"));
        assert!(matches!(refused, Err(Error::NotLoopback { .. })), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn a_call_that_the_other_end_does_not_know_or_that_is_too_long_is_told_from_none() {
    let pair = pair(Echo::default(), ServerLimits { call_bytes_max: 1024, ..ServerLimits::default() });
    let call = async |path: &str, bytes: usize| {
        pair.caller.call(pair.address, path, Bytes::from(vec![7; bytes]), PATIENCE).await
    };
    assert_eq!(call("/echo", 1024).await, Ok(Bytes::from(vec![7; 1024])));
    for (path, bytes) in [("/other", 1), ("/echo", 1025)] {
        let failed = call(path, bytes).await.expect_err("refused");
        assert!(matches!(&failed, CallError::Lost(said) if said.contains("400")), "{failed}");
    }
    assert_eq!(pair.echo.asked.load(SeqCst), 2, "what is too long is not handed on");
}

#[tokio::test]
async fn an_end_that_drains_answers_what_is_under_way_and_then_takes_nothing() {
    let pair = pair(Echo { pause: Duration::from_millis(300), ..Echo::default() }, ServerLimits::default());
    let (caller, address) = (pair.caller.clone(), pair.address);
    let call =
        move |caller: Caller| async move { caller.call(address, "/echo", Bytes::from_static(b"x"), PATIENCE).await };
    let under_way = tokio::spawn(call(caller.clone()));
    while pair.echo.asked.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pair.shutdown.request();
    assert_eq!(under_way.await.expect("no panic"), Ok(Bytes::from_static(b"x")));
    pair.served.await;
    let after = call(caller).await.expect_err("nobody is there");
    assert!(matches!(after, CallError::NotSent(_)), "{after}");
}

#[tokio::test]
async fn an_end_that_is_to_end_says_so_with_its_answers_and_when_it_is_asked() {
    let pair = pair(Echo::default(), ServerLimits::default());
    let call = async || pair.caller.call(pair.address, "/echo", Bytes::new(), PATIENCE).await;
    call().await.expect("answered");
    assert_eq!(pair.caller.instances().ready(), 1);
    pair.echo.is_ending.store(true, SeqCst);
    call().await.expect("it answers until it is gone");
    assert_eq!(pair.caller.instances().ready(), 0);
    pair.echo.is_ending.store(false, SeqCst);
    let began = std::time::Instant::now();
    while pair.caller.instances().ready() == 0 {
        assert!(began.elapsed() < PATIENCE, "it is asked again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_call_whose_answer_does_not_come_in_time_is_lost() {
    let pair = pair(Echo { pause: PATIENCE, ..Echo::default() }, ServerLimits::default());
    let late = pair.caller.call(pair.address, "/echo", Bytes::new(), Duration::from_millis(100)).await;
    assert!(matches!(late, Err(CallError::Lost(_))), "{late:?}");
}
