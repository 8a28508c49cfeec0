//! Those who send commands, and what they were told.

use std::{sync::Arc, time::Duration};

use command_service::{CommandOutcome, CommandRequest, CommandService, Executor};
use parking_lot::Mutex;
use runtime::Runtime;
use testkit::conformance::command_service::Request;
use uuid::Uuid;

pub(super) const ACCOUNTS: u64 = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(7);

/// The way to the command service of the process's present life; nothing while it is down.
pub(super) type Front = Arc<Mutex<Option<Executor>>>;

/// One command and what its client knows of it.
pub(super) struct Sent {
    /// The correlation id that its events carry.
    pub(super) tag: Uuid,
    /// How many events it has if it is accepted.
    pub(super) events: usize,
    /// `None` where the process crashed before it answered, and nothing told a second attempt from another command.
    pub(super) outcome: Option<CommandOutcome>,
    /// How many further attempts there were.
    pub(super) retries: u32,
}

pub(super) struct Client {
    pub(super) runtime: Runtime,
    pub(super) front: Front,
    pub(super) number: u64,
}

impl Client {
    /// Sends `commands` commands, one after the other.
    pub(super) async fn run(self, commands: u64) -> Vec<Sent> {
        let mut sent = Vec::new();
        for index in 0..commands {
            // Whole milliseconds: that several arrive at the same moment is to be likely.
            self.runtime.sleep(Duration::from_millis(self.below(30))).await;
            sent.push(self.send(index).await);
        }
        sent
    }

    async fn send(&self, index: u64) -> Sent {
        let tag = Uuid::from_u128(u128::from(self.number + 1) << 64 | u128::from(index + 1));
        let (request, events) = self.choose();
        let is_keyed = self.below(2) == 0;
        let request = if is_keyed { request.keyed(&tag.to_string()) } else { request };
        let request = request.with(|request| request.correlation = Some(tag)).build();
        let mut sent = Sent { tag, events, outcome: None, retries: 0 };
        loop {
            let outcome = self.attempt(&request).await;
            match outcome {
                CommandOutcome::Accepted { .. } | CommandOutcome::Refused { .. } => {
                    sent.outcome = Some(outcome);
                    break;
                }
                CommandOutcome::Unknown if !is_keyed => return sent,
                CommandOutcome::Unknown | CommandOutcome::Unavailable { .. } => sent.retries += 1,
                unexpected => panic!("{} of {} was answered {unexpected:?}", request.command, request.id),
            }
            self.runtime.sleep(RETRY_PAUSE).await;
        }
        if is_keyed && self.below(2) == 0 {
            self.expect_the_same_again(&request, &mut sent).await;
        }
        sent
    }

    /// Whatever happened in between, the same key has the same outcome.
    async fn expect_the_same_again(&self, request: &CommandRequest, sent: &mut Sent) {
        loop {
            self.runtime.sleep(RETRY_PAUSE * 5).await;
            sent.retries += 1;
            let outcome = self.attempt(request).await;
            if matches!(outcome, CommandOutcome::Unknown | CommandOutcome::Unavailable { .. }) {
                continue;
            }
            assert!(is_replay(&outcome), "a repeated key was answered anew: {outcome:?}");
            assert_eq!(Some(first_time(outcome)), sent.outcome.clone().map(first_time));
            return;
        }
    }

    async fn attempt(&self, request: &CommandRequest) -> CommandOutcome {
        loop {
            let executor = self.front.lock().clone();
            match executor {
                Some(executor) => return executor.execute(request.clone()).await,
                None => self.runtime.sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// A command, and how many events it has if it is accepted. Some are sure to be refused, at least now and then.
    fn choose(&self) -> (Request, usize) {
        let id = format!("a-{}", self.below(ACCOUNTS));
        match self.below(8) {
            0 => (Request::open(&id), 1),
            1 => (Request::deposit_parts(&id, self.below(50) + 1, 5), 5),
            2 => (Request::withdraw(&id, self.below(200) + 1), 1),
            3 => (Request::deposit(&id, 0), 0),
            _ => (Request::deposit(&id, self.below(50) + 1), 1),
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.runtime.random_u64() % end
    }
}

fn is_replay(outcome: &CommandOutcome) -> bool {
    matches!(outcome, CommandOutcome::Accepted { replayed: true, .. } | CommandOutcome::Refused { replayed: true, .. })
}

/// The outcome as it was, or would have been, answered the first time.
fn first_time(mut outcome: CommandOutcome) -> CommandOutcome {
    if let CommandOutcome::Accepted { replayed, .. } | CommandOutcome::Refused { replayed, .. } = &mut outcome {
        *replayed = false;
    }
    outcome
}
