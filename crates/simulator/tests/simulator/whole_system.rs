//! The command path, the log, relay, queue, apply loop and rows together: the real boxes on real SQLite files, with one
//! seed, virtual time and crashes.

mod answers;
mod checks;
mod client;
mod queue;
mod world;

use std::{cell::RefCell, pin::pin, sync::Arc, time::Duration};

use event_handler::HeadPoll;
use futures_util::future::{Either, join_all, select};
use parking_lot::Mutex;
use runtime::{Runtime, Shutdown};
use simulator::{Process, Simulation, check};
use tokio::sync::Notify;

use self::{
    client::{Client, Sent},
    world::World,
};

const SEEDS: u64 = 100;
const CLIENTS: u64 = 4;
const COMMANDS: u64 = 40;
const CRASHES: u64 = 4;
const STEPS_TO_CRASH_MAX: u64 = 1500;
/// A run without the head poll in which fewer publishes failed would show little.
const FAILURES_MIN: u64 = 5;
/// Within this time after the last trouble everything is as it should be: the longest pause of a relay, and the time for
/// which a queue is watched before it is relied on again, with room.
const CALM_MAX: Duration = Duration::from_secs(10);

/// What goes wrong in a run.
#[derive(Clone, Copy)]
pub(crate) struct Profile {
    head_poll: HeadPoll,
    /// Whether the queue is turned off and on.
    is_queue_disturbed: bool,
    /// Whether every third publish fails, or seems to.
    is_queue_flaky: bool,
    /// Whether a crash may take the last commits of the rows with it.
    loses_rows: bool,
}

/// What happened, to show that it did.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    events: usize,
    refused: usize,
    unanswered: usize,
    retries: u32,
    crashes: u32,
    published: u64,
    answers: usize,
    switches: u32,
    switches_seen: u32,
    hole_reads: u64,
    outage_reads: u64,
}

#[test]
fn whatever_crashes_and_however_the_queue_fails_every_event_is_folded_once_and_in_order() {
    let profile = Profile {
        head_poll: event_handler::Config::default().head_poll,
        is_queue_disturbed: true,
        is_queue_flaky: false,
        loses_rows: true,
    };
    let tally = RefCell::default();
    check(0..SEEDS, |simulation| run(simulation, profile, &tally));
    let tally: Tally = tally.into_inner();
    if tally.runs >= SEEDS {
        assert!(tally.crashes > 0 && tally.outage_reads > 0, "{tally:?}");
        assert!(tally.refused > 0 && tally.unanswered > 0 && tally.retries > 0, "{tally:?}");
        assert!(tally.switches > 0 && tally.switches_seen > 0, "{tally:?}");
    }
}

#[test]
fn without_a_head_poll_a_relay_whose_publishes_fail_brings_everything_and_nobody_reads_the_log_instead() {
    let profile =
        Profile { head_poll: HeadPoll::Off, is_queue_disturbed: false, is_queue_flaky: true, loses_rows: false };
    let tally = RefCell::default();
    check(0..SEEDS, |simulation| run(simulation, profile, &tally));
    let tally: Tally = tally.into_inner();
    assert_eq!((tally.hole_reads, tally.outage_reads), (0, 0), "{tally:?}");
    assert!(tally.published >= tally.runs * FAILURES_MIN * queue::FAILS_EVERY, "{tally:?}");
}

fn run(simulation: &mut Simulation, profile: Profile, tally: &RefCell<Tally>) {
    let mut world = World::new(simulation, profile);
    let runtime = simulation.runtime();
    let calm = Shutdown::new();
    if profile.is_queue_disturbed {
        let disturbing = world::disturb(runtime.clone(), world.queue.clone(), calm.clone());
        drop(runtime.spawn("disturbance", disturbing));
    }
    let asking = runtime.spawn("reader", answers::ask(runtime.clone(), world.rows.clone(), calm.clone()));
    let clients = (0..CLIENTS).map(|number| {
        let client = Client { runtime: runtime.clone(), front: world.front.clone(), number };
        runtime.spawn("client", client.run(COMMANDS))
    });
    let mut clients = pin!(join_all(clients.collect::<Vec<_>>()));
    let fuse = Fuse::lay(simulation, world.process.clone());
    let mut crashes = 0;
    let sent: Vec<Sent> = loop {
        if crashes < CRASHES {
            fuse.light(runtime.random_u64() % STEPS_TO_CRASH_MAX);
        }
        let blown = pin!(fuse.blown());
        match simulation.run_until(select(clients.as_mut(), blown)) {
            Either::Left((sent, _)) => break sent.into_iter().flat_map(|sent| sent.expect("clients end")).collect(),
            Either::Right(_) => {
                crashes += 1;
                down_and_up(simulation, &mut world, &runtime);
            }
        }
    };
    if fuse.put_out() {
        down_and_up(simulation, &mut world, &runtime);
    }
    calm.request();
    if let Some(queue) = &*world.queue.lock() {
        queue.set_fault(None);
    }
    simulation.run_until(converge(&world, &runtime));
    let events = simulation.run_until(checks::expect_sound_and_exact(&world));
    checks::expect_as_told(&sent, &events);
    let answers = simulation.run_until(asking).expect("the reader ends");
    let mut tally = tally.borrow_mut();
    tally.switches_seen += answers::expect_folds(&answers, &events);
    tally.answers += answers.len();
    tally.add(&world, &sent, events.len());
}

/// Some time after a crash the process starts again, on files that are sound.
fn down_and_up(simulation: &mut Simulation, world: &mut World, runtime: &Runtime) {
    simulation.run_for(Duration::from_millis(runtime.random_u64() % 100));
    world.restart();
    simulation.run_until(checks::expect_sound_and_exact(world));
}

async fn converge(world: &World, runtime: &Runtime) {
    let began = runtime.now();
    while !world.has_converged().await {
        assert!(runtime.now() - began < CALM_MAX, "not calm after {CALM_MAX:?}: {:?}", world.status());
        runtime.sleep(Duration::from_millis(10)).await;
    }
}

/// Crashes a process after so many steps: between any two of them, not only where the clock moves.
struct Fuse {
    left: Arc<Mutex<Left>>,
    blown: Arc<Notify>,
}

#[derive(Default)]
enum Left {
    #[default]
    Unlit,
    Steps(u64),
    Blown,
}

impl Fuse {
    fn lay(simulation: &mut Simulation, process: Process) -> Self {
        let fuse = Self { left: Arc::default(), blown: Arc::default() };
        let (left, blown) = (fuse.left.clone(), fuse.blown.clone());
        simulation.after_every(1, move || {
            let mut left = left.lock();
            match &mut *left {
                Left::Steps(0) => {
                    process.crash();
                    blown.notify_one();
                    *left = Left::Blown;
                }
                Left::Steps(steps) => *steps -= 1,
                Left::Unlit | Left::Blown => {}
            }
        });
        fuse
    }

    fn light(&self, steps: u64) {
        *self.left.lock() = Left::Steps(steps);
    }

    /// Returns once it has blown, and is then as new.
    async fn blown(&self) {
        self.blown.notified().await;
        *self.left.lock() = Left::Unlit;
    }

    /// Whether it was too late, and nobody has taken note of it.
    fn put_out(&self) -> bool {
        matches!(std::mem::take(&mut *self.left.lock()), Left::Blown)
    }
}

impl Tally {
    fn add(&mut self, world: &World, sent: &[Sent], events: usize) {
        use command_service::CommandOutcome::Refused;
        self.runs += 1;
        self.events += events;
        self.refused += sent.iter().filter(|sent| matches!(sent.outcome, Some(Refused { .. }))).count();
        self.unanswered += sent.iter().filter(|sent| sent.outcome.is_none()).count();
        self.retries += sent.iter().map(|sent| sent.retries).sum::<u32>();
        self.crashes += world.crashes();
        self.published += world.published();
        self.switches += world.switches();
        for (reason, reads) in world.metrics.direct_reads() {
            match reason {
                "hole" => self.hole_reads += reads,
                "outage" => self.outage_reads += reads,
                _ => {}
            }
        }
    }
}
