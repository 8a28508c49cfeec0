//! Calls between two ends of this process, over real sockets.

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
use wire::{
    Answers, By, Call, CallError, Caller, CallerLimits, Endpoint, Error, Instances, Sending, ServerLimits, Unanswered,
    serve,
};

const PATIENCE: Duration = Duration::from_secs(5);

/// What an instance does with a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Does {
    /// Answers what it was sent.
    #[default]
    Echo,
    /// Says that nothing was done.
    NotNow,
    /// Does something, and cannot say what.
    Lost,
    /// Never answers.
    Hang,
    /// Is gone.
    End,
}

/// Answers after a pause.
#[derive(Default)]
pub(crate) struct Echo {
    does: Does,
    pause: Duration,
    is_ending: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl Answers for Echo {
    fn answer(&self, path: &str, frame: Bytes) -> BoxFuture<'static, Result<Bytes, Unanswered>> {
        self.asked.fetch_add(1, SeqCst);
        let (does, pause, is_known) = (self.does, self.pause, path == "/echo");
        let error = |found: &str| Error::Frame { found: found.to_owned() };
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            match does {
                _ if !is_known => Err(Unanswered::Refused(error("no such call"))),
                Does::Echo => Ok(frame),
                Does::NotNow => Err(Unanswered::NotNow),
                Does::Lost => Err(Unanswered::Lost(error("too long"))),
                Does::Hang | Does::End => std::future::pending().await,
            }
        })
    }

    fn is_ready(&self) -> bool {
        !self.is_ending.load(SeqCst)
    }
}

struct Served {
    address: SocketAddr,
    echo: Arc<Echo>,
    shutdown: Shutdown,
    served: runtime::Task<()>,
}

fn served(echo: Echo, limits: ServerLimits) -> Served {
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let (address, echo) = (endpoint.address(), Arc::new(echo));
    let served = runtime.spawn("server", serve(endpoint, echo.clone(), limits, runtime.clone(), shutdown.clone()));
    Served { address, echo, shutdown, served }
}

fn caller(addresses: &[SocketAddr]) -> Caller {
    let instances = Instances::new(addresses.iter().map(SocketAddr::to_string).collect()).expect("addresses");
    Caller::start(&Runtime::tokio(), instances, CallerLimits::default(), Shutdown::new())
}

pub(crate) fn echo(frame: Bytes) -> Call<'static> {
    let sending = Sending::Once;
    Call { by: By::Turn, sending, path: "/echo", frame, patience: PATIENCE, patience_in_all: PATIENCE }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < 2 * PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn plain_text_is_spoken_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Endpoint::bind(address.parse().expect("an address"));
        assert!(matches!(refused, Err(Error::NotLoopback { .. })), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn a_call_that_the_other_end_does_not_know_or_that_is_too_long_is_refused_and_not_lost() {
    let server = served(Echo::default(), ServerLimits { call_bytes_max: 1024, ..ServerLimits::default() });
    let caller = caller(&[server.address]);
    let call = async |path, bytes: usize| {
        let frame = Bytes::from(vec![7; bytes]);
        caller.call(Call { path, ..echo(frame) }).await
    };
    assert_eq!(call("/echo", 1024).await, Ok(Bytes::from(vec![7; 1024])));
    for (path, bytes) in [("/other", 1), ("/echo", 1025)] {
        let failed = call(path, bytes).await.expect_err("refused");
        assert!(matches!(&failed, CallError::Refused(said) if said.contains("400")), "{failed}");
    }
    assert_eq!(server.echo.asked.load(SeqCst), 2, "what is too long is not handed on");
}

#[tokio::test]
async fn a_call_is_made_once_more_elsewhere_where_nothing_was_done_or_where_it_may_be_repeated() {
    let whole = served(Echo::default(), ServerLimits::default());
    for (does, sending, is_answered) in [
        (Does::NotNow, Sending::Once, true),
        (Does::End, Sending::Once, true),
        (Does::Lost, Sending::Once, false),
        (Does::Lost, Sending::Repeatable, true),
        (Does::Hang, Sending::Repeatable, true),
    ] {
        let other = served(Echo { does, ..Echo::default() }, ServerLimits::default());
        let caller = caller(&[other.address, whole.address]);
        until("both are ready", || caller.instances().ready() == 2).await;
        if does == Does::End {
            other.shutdown.request();
            other.served.await;
        }
        let mut answers = Vec::new();
        // One of two turns is the other's.
        for _ in 0..2 {
            let patience = Duration::from_millis(300);
            let call = Call { sending, patience, patience_in_all: PATIENCE, ..echo(Bytes::from_static(b"x")) };
            answers.push(caller.call(call).await);
        }
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(failed == 0, is_answered, "{does:?}, {sending:?}: {answers:?}");
        assert!(does == Does::End || other.echo.asked.load(SeqCst) > 0, "{does:?}, {sending:?}: it had its turn");
    }
}

#[tokio::test]
async fn an_instance_that_loses_calls_is_ejected_and_comes_back() {
    let broken = served(Echo { does: Does::Lost, ..Echo::default() }, ServerLimits::default());
    let whole = served(Echo::default(), ServerLimits::default());
    let caller = caller(&[broken.address, whole.address]);
    until("both are ready", || caller.instances().ready() == 2).await;
    let call = async |sending| caller.call(Call { sending, ..echo(Bytes::from_static(b"x")) }).await;
    let mut failed = 0;
    for _ in 0..50 {
        failed += usize::from(call(Sending::Once).await.is_err());
    }
    assert_eq!(failed, 5, "as many as eject it");
    let asked = broken.echo.asked.load(SeqCst);
    // Its time is over after a second; then a call that may be repeated probes it, and fails nobody.
    let began = std::time::Instant::now();
    while broken.echo.asked.load(SeqCst) == asked {
        assert!(began.elapsed() < PATIENCE, "it is probed");
        assert_eq!(call(Sending::Repeatable).await, Ok(Bytes::from_static(b"x")));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_end_that_drains_answers_what_is_under_way_and_then_takes_nothing() {
    let server = served(Echo { pause: Duration::from_millis(300), ..Echo::default() }, ServerLimits::default());
    let caller = caller(&[server.address]);
    let call = |caller: Caller| async move { caller.call(echo(Bytes::from_static(b"x"))).await };
    let under_way = tokio::spawn(call(caller.clone()));
    until("the call arrives", || server.echo.asked.load(SeqCst) > 0).await;
    server.shutdown.request();
    assert_eq!(under_way.await.expect("no panic"), Ok(Bytes::from_static(b"x")));
    server.served.await;
    let after = call(caller).await.expect_err("nobody is there");
    assert!(matches!(after, CallError::NotSent(_)), "{after}");
}

#[tokio::test]
async fn an_end_that_is_to_end_says_so_with_its_answers_and_when_it_is_asked() {
    let server = served(Echo::default(), ServerLimits::default());
    let caller = caller(&[server.address]);
    until("it is ready", || caller.instances().ready() == 1).await;
    server.echo.is_ending.store(true, SeqCst);
    caller.call(echo(Bytes::new())).await.expect("it answers until it is gone");
    assert_eq!(caller.instances().ready(), 0);
    server.echo.is_ending.store(false, SeqCst);
    until("it is asked again", || caller.instances().ready() == 1).await;
}

#[tokio::test]
async fn a_call_whose_answer_does_not_come_in_time_is_lost() {
    let server = served(Echo { does: Does::Hang, ..Echo::default() }, ServerLimits::default());
    let caller = caller(&[server.address]);
    let late = caller.call(Call { patience: Duration::from_millis(100), ..echo(Bytes::new()) }).await;
    assert!(matches!(late, Err(CallError::Lost(_))), "{late:?}");
}

/// Answers one connection after the other with a date of long ago.
async fn with_a_clock_that_stands(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    while let Ok((mut socket, _)) = listener.accept().await {
        let mut request = [0; 1024];
        if socket.read(&mut request).await.is_ok() {
            let head = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Whoever has gone meanwhile asks again.
            let _ = socket.write_all(head.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn the_clocks_of_instances_are_compared_with_ours() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let stands = listener.local_addr().expect("an address");
    let standing = tokio::spawn(with_a_clock_that_stands(listener));
    let goes = served(Echo::default(), ServerLimits::default());
    let instances = Instances::new(vec![stands.to_string(), goes.address.to_string()]).expect("addresses");
    let shutdown = Shutdown::new();
    let caller = Caller::start(&Runtime::tokio(), instances, CallerLimits::default(), shutdown.clone());
    let skew = |address| {
        let known = caller.instances().known();
        known.iter().find(|instance| instance.address() == address)?.skew().get().map(|skew| skew.as_secs_f64())
    };
    while skew(stands).is_none() || skew(goes.address).is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(skew(stands).is_some_and(|skew| skew < -365.0 * 24.0 * 3600.0), "{:?}", skew(stands));
    assert!(skew(goes.address).is_some_and(|skew| skew.abs() < 5.0), "{:?}", skew(goes.address));
    shutdown.request();
    standing.abort();
}
