//! Random batches, on the embedded log and on the log in memory.

use std::sync::Arc;

use bytes::Bytes;
use command_database::{Append, Decision, EventStore, ExpectedVersion, Load, Outcome, ReadLimit, SqliteEventStore};
use futures_util::{FutureExt, future::BoxFuture};
use model::{EpochId, Hash, StoredEvent, StreamVersion};
use proptest::{collection::vec, option, prelude::*};
use runtime::Runtime;
use testkit::conformance::event_store::{MemoryEventStore, Place, Request, broken::Disks};
use uuid::Uuid;

use crate::given::{ByHand, Given, stream};

#[derive(Clone, Debug)]
pub(crate) struct Command {
    stream: u8,
    /// Below its version, at it, or above; or any.
    expected: Option<u64>,
    events: usize,
    refused: bool,
    key: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(Vec<Command>),
    Reopen,
}

fn command() -> impl Strategy<Value = Command> {
    let events = prop_oneof![8 => 0..4_usize, 1 => 200..300_usize];
    (0..3_u8, option::of(0..5_u64), events, prop::bool::weighted(0.1), option::of((0..6_u8, 0..2_u8)))
        .prop_map(|(stream, expected, events, refused, key)| Command { stream, expected, events, refused, key })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(prop_oneof![6 => vec(command(), 0..8).prop_map(Step::Append), 1 => Just(Step::Reopen)], 1..12)
}

impl Command {
    pub(crate) fn build(&self, runtime: &Runtime, number: usize) -> Append {
        let mut request = Request::new(runtime, &self.stream.to_string()).expecting(match self.expected {
            None => ExpectedVersion::Any,
            Some(version) => ExpectedVersion::of(StreamVersion::new(version)),
        });
        for event in 0..self.events {
            request = request.event(format!("{{\"command\":{number},\"event\":{event}}}"));
        }
        if let Some((key, body)) = self.key {
            request = request.key(&key.to_string(), &body.to_string());
        }
        let mut append = request.build();
        if self.refused {
            append.decision = Decision::Refused(Bytes::from_static(b"no"));
        }
        append
    }
}

/// Blocking work is done on the spot here, so nothing is ever waited for.
fn now<T>(future: BoxFuture<'_, Result<T, command_database::Error>>) -> T {
    future.now_or_never().expect("no waiting").expect("no error")
}

/// Two logs have two epochs, and so other hashes: those are the suite's matter.
pub(crate) fn without_epoch(mut outcome: Outcome) -> Outcome {
    if let Outcome::Committed { epoch, .. } = &mut outcome {
        *epoch = EpochId(Uuid::nil());
    }
    outcome
}

pub(crate) fn comparable(mut event: StoredEvent) -> StoredEvent {
    (event.epoch, event.hash) = (EpochId(Uuid::nil()), Hash::default());
    event
}

fn same_reads(log: &dyn EventStore, model: &dyn EventStore) -> Result<(), TestCaseError> {
    for limit in [ReadLimit::default(), ReadLimit { events_max: 7, bytes_max: 100 }] {
        let events = |store: &dyn EventStore| -> Vec<_> {
            let mut all = Vec::new();
            loop {
                let after = all.last().map(|event: &StoredEvent| event.position);
                let read = now(store.read(after, limit));
                if read.is_empty() {
                    return all.into_iter().map(comparable).collect();
                }
                all.extend(read.into_iter().map(Arc::unwrap_or_clone));
            }
        };
        prop_assert_eq!(events(log), events(model));
        for id in ["0", "1", "2"] {
            let load = || vec![Load { stream: stream(id), state_shape: Hash::default() }];
            let (loaded, expected) = (now(log.load(load(), limit)).remove(0), now(model.load(load(), limit)).remove(0));
            prop_assert_eq!(loaded.version, expected.version);
            let after = StreamVersion::new(StreamVersion::count(loaded.version) / 2);
            let streams = [log, model].map(|store| now(store.read_stream(stream(id), after, limit)));
            for (events, expected) in [(loaded.events, expected.events), streams.into()] {
                let all = |events: Vec<_>| events.into_iter().map(comparable).collect::<Vec<_>>();
                prop_assert_eq!(all(events), all(expected));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_embedded_log_does_what_the_log_in_memory_does(steps in steps()) {
        let given = Given::on(ByHand::default().runtime());
        let place = Place { directory: given.path(), runtime: given.runtime.clone() };
        let disks = Disks::default();
        let open = || (given.open(), MemoryEventStore::open(&disks, &place, None));
        let (mut log, mut model): (SqliteEventStore, _) = open();
        let mut number = 0;
        for step in &steps {
            match step {
                Step::Append(commands) => {
                    let build = |command: &Command| { number += 1; command.build(&given.runtime, number) };
                    let batch: Vec<_> = commands.iter().map(build).collect();
                    let outcomes = now(log.append(batch.clone())).into_iter().map(without_epoch).collect::<Vec<_>>();
                    let expected = now(model.append(batch)).into_iter().map(without_epoch).collect::<Vec<_>>();
                    prop_assert_eq!(&outcomes, &expected);
                }
                Step::Reopen => {
                    drop((log, model));
                    (log, model) = open();
                }
            }
        }
        same_reads(&log, &model)?;
    }
}
