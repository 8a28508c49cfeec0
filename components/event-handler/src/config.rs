use std::time::Duration;

/// Whether the end of the log is looked at, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPoll {
    /// This often. Without it nobody notices that the queue is silent.
    Every(Duration),
    /// Never: for tests that have to show that the queue alone brings everything.
    Off,
}

/// Limits and times of an event handler. The defaults are meant to stay.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most events of one commit.
    pub batch_events_max: usize,
    /// How long one commit of a read model that is being filled may take: others share its database.
    pub fill_commit_target: Duration,
    /// The same while no read model of the process keeps up, so that none has to wait for its turn.
    pub fill_alone_commit_target: Duration,
    /// Bytes of rows that each projection keeps decoded.
    pub row_cache_bytes_max: usize,
    /// Most events kept in memory for projections that lag; the rest they read from the log.
    pub inbox_events_max: usize,
    /// Most bytes of them.
    pub inbox_bytes_max: usize,
    /// How often the end of the log is read.
    pub head_poll: HeadPoll,
    /// How often, at most, the head is stored with the checkpoints while there is nothing to apply.
    pub head_refresh: Duration,
    /// How long the queue may be silent while the log has more, before it is suspected.
    pub suspect_after: Duration,
    /// How long after the start the queue may be silent: the relay starts at the same time.
    pub start_grace: Duration,
    /// How often the log is read while the queue is out.
    pub direct_poll: Duration,
    /// How long the queue must have worked again before it is relied on.
    pub probing_min: Duration,
    /// How many batches it must have brought in order by then.
    pub probing_batches_min: u32,
    /// Most reads of the log each second, over all projections of the process.
    pub direct_reads_per_second_max: u32,
    /// How often an event that cannot be folded is tried before its projection is held.
    pub fold_attempts_max: u32,
    /// How often a held projection tries again.
    pub hold_retry: Duration,
    /// How long a former owner waits before it takes a read model over again.
    pub fenced_pause: Duration,
    /// How long a generation's owner has to be silent, or to leave it behind the log, before a former one takes it over:
    /// until then this process stands by. `None` where no other process can be meant to.
    pub standstill: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_events_max: 4096,
            fill_commit_target: Duration::from_millis(20),
            fill_alone_commit_target: Duration::from_millis(250),
            row_cache_bytes_max: 32 * 1024 * 1024,
            inbox_events_max: 65_536,
            inbox_bytes_max: 64 * 1024 * 1024,
            head_poll: HeadPoll::Every(Duration::from_millis(50)),
            head_refresh: Duration::from_millis(500),
            suspect_after: Duration::from_millis(100),
            start_grace: Duration::from_secs(1),
            direct_poll: Duration::from_millis(10),
            probing_min: Duration::from_secs(2),
            probing_batches_min: 3,
            direct_reads_per_second_max: 1000,
            fold_attempts_max: 5,
            hold_retry: Duration::from_secs(60),
            fenced_pause: Duration::from_secs(1),
            standstill: None,
        }
    }
}
