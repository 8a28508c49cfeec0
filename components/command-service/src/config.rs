use model::NewEvent;
use serde::{Deserialize, Serialize};

/// The limits of one Command Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tasks that the streams are spread over. One stream always belongs to the same one.
    pub shards: usize,
    /// Most commands under way at a time; further ones are refused.
    pub commands_under_way_max: usize,
    /// Most commands that wait for one stream while it is loaded; further ones are refused.
    pub stream_waiting_max: usize,
    /// Most commands that one shard decides before it hands their events on.
    pub batch_commands_max: usize,
    /// Most events that one shard hands on in one batch.
    pub batch_events_max: usize,
    /// Most bytes of events that one shard hands on in one batch. One append of the store must take a batch and one more
    /// command.
    pub batch_bytes_max: usize,
    /// Bytes of memory for the states of aggregates between commands.
    pub cache_bytes_max: usize,
    /// A stream that grew by as many events since its last snapshot gets another one.
    pub snapshot_every_events: u64,
    /// Most events that one command may lead to.
    pub command_events_max: usize,
    /// Most bytes that the events of one command may have.
    pub command_bytes_max: usize,
    /// How often a command is decided again after a lost race.
    pub conflict_retries_max: u32,
    /// Whether nobody else appends to this log.
    ///
    /// Then a command is decided on a state whose events are still on their way to the disk, whichever batch they are in. With
    /// other writers about, an event of theirs could take the place of the one that the decision counted on, and the version
    /// would still fit. So without this only what goes into the same batch is built on, in which a loser takes along what
    /// follows it in its stream; the next batch of a stream waits for the one before it, and no refusal is answered before
    /// the stream's version was compared.
    pub sole_writer: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 2,
            commands_under_way_max: 4096,
            stream_waiting_max: 1024,
            batch_commands_max: 256,
            batch_events_max: 4096,
            batch_bytes_max: 8 * 1024 * 1024,
            cache_bytes_max: 64 * 1024 * 1024,
            snapshot_every_events: 256,
            command_events_max: 1000,
            command_bytes_max: 4 * 1024 * 1024,
            conflict_retries_max: 8,
            sole_writer: true,
        }
    }
}

impl Config {
    /// By what the events of one command go past the limits, for people.
    pub(crate) fn excess_of(&self, events: &[NewEvent]) -> Option<String> {
        let (count, count_max) = (events.len(), self.command_events_max);
        if count > count_max {
            return Some(format!("the command leads to {count} events, the limit is {count_max}"));
        }
        let (bytes, bytes_max) =
            (events.iter().map(|event| event.payload.len()).sum::<usize>(), self.command_bytes_max);
        (bytes > bytes_max).then(|| format!("the command's events have {bytes} bytes, the limit is {bytes_max}"))
    }
}
