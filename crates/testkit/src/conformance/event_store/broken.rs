//! Stores that break one promise each.

pub use super::memory::Disks;

macro_rules! flaws {
    ($($(#[$docs:meta])* $flaw:ident breaks $promise:literal,)+) => {
        /// What is wrong with a [`MemoryEventStore`](super::MemoryEventStore).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Flaw {
            $($(#[$docs])* $flaw,)+
        }

        impl Flaw {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$flaw),+];

            /// The promise it breaks, and the only one.
            #[must_use]
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Self::$flaw => $promise,)+
                }
            }
        }
    };
}

flaws! {
    /// One position is never given out.
    SkipsPositions breaks "positions_are_dense_from_one_in_commit_order",
    /// A command that loses takes its position with it.
    LeavesGaps breaks "a_loser_leaves_no_gap",
    /// Two events of a stream have one version.
    RepeatsVersions breaks "versions_are_dense_in_each_stream",
    /// What was decided on an older version is accepted.
    AcceptsStaleDecisions breaks "an_append_checks_the_expected_version",
    /// Commands of a batch do not see each other.
    SeesTheLogBeforeTheBatch breaks "a_later_command_of_a_batch_sees_an_earlier_one",
    /// What was decided on a loser's events is accepted where the version happens to fit.
    TakesWhatALoserLeft breaks "what_follows_a_loser_of_its_stream_loses",
    /// One loser refuses the batch.
    FailsNeighbours breaks "a_loser_does_not_disturb_its_neighbours",
    /// A loser's first event is written.
    WritesHalfOfALoser breaks "a_loser_writes_nothing",
    /// Each outcome has the head after the last one.
    TellsTheBatchsHead breaks "an_outcome_says_where_its_events_are",
    /// What tracing systems said is not kept.
    DropsTraces breaks "an_event_comes_back_as_it_was_appended",
    /// A hash covers its event alone.
    HashesEachEventAlone breaks "the_hashes_form_a_chain",
    /// One event is recorded before its predecessor.
    GoesBackInTime breaks "recorded_at_does_not_go_back",
    /// Whose stream it is does not count.
    MixesTenants breaks "streams_of_two_tenants_are_apart",
    /// A command without events is told that there is no stream.
    ForgetsVersionsOfNothing breaks "a_command_without_events_changes_no_stream",
    /// Who reads on does not get the last event.
    MissesTheLastEvent breaks "reading_on_misses_and_repeats_nothing",
    /// A limit is exceeded by one.
    ReadsOneTooMany breaks "a_read_keeps_to_the_number_of_events",
    /// The limit of bytes does not count.
    ReadsWithoutLimitOfBytes breaks "a_read_keeps_to_the_bytes_but_returns_something",
    /// The head lags one event behind.
    TellsAnOldHead breaks "the_head_is_the_end_of_the_log",
    /// Read on from a version, a stream comes newest first.
    ReadsStreamsBackward breaks "a_stream_is_read_in_order_from_any_version",
    /// A long piece lacks its last event.
    MissesPiecesOfLongStreams breaks "a_long_stream_is_read_in_pieces",
    /// A record does not say where its events are.
    KeepsHalfOfARecord breaks "a_key_replays_what_came_of_it",
    /// A command sent again meets its own events.
    ComparesVersionsBeforeKeys breaks "a_key_is_looked_up_before_versions_are_compared",
    /// Another request gets the first one's answer.
    ComparesNoFingerprints breaks "a_key_with_another_request_is_refused",
    /// Only acceptance is remembered.
    ForgetsRefusals breaks "a_refusal_is_remembered_under_its_key",
    /// Only events are remembered.
    ForgetsKeysWithoutEvents breaks "a_key_without_events_is_remembered",
    /// A key does not count until its batch is committed.
    LooksKeysUpBeforeTheBatch breaks "a_key_used_twice_in_a_batch_is_one_command",
    /// A command that lost has used its key up.
    KeepsLosersKeys breaks "a_losers_key_stays_free",
    /// Keys are forgotten whatever their age.
    ExpiresKeysAtOnce breaks "keys_expire_by_elapsed_time_only",
    /// The commit comes when there is time for it.
    AcknowledgesBeforeTheCommit breaks "what_was_acknowledged_is_there_when_the_process_dies",
    /// Keys have a transaction of their own, after that of the events.
    WritesKeysLater breaks "a_key_is_written_with_its_events",
    /// Closing cuts off the last event.
    LosesItsTail breaks "nothing_is_lost_by_closing_and_opening",
    /// Keys are gone with the process.
    KeepsKeysInMemory breaks "keys_outlive_the_process",
    /// Positions are counted from the opening.
    StartsAgainAtPositionOne breaks "the_log_goes_on_where_it_ended",
    /// Each opening is a new life.
    StartsAnEpochAtEachOpening breaks "opening_again_is_no_new_epoch",
    /// Loaded streams are not in the order asked for.
    LoadsInAnotherOrder breaks "streams_are_loaded_at_one_go",
    /// Events come that the snapshot has in it already.
    LoadsWhatTheSnapshotHas breaks "a_load_has_the_snapshot_and_what_came_after_it",
    /// The shape of a state does not count.
    LoadsOtherShapes breaks "a_snapshot_of_another_shape_is_as_good_as_none",
    /// A snapshot may be ahead of its stream.
    LoadsFromTheFuture breaks "a_snapshot_ahead_of_its_stream_is_as_good_as_none",
    /// The latest snapshot to come is kept, however old.
    ReplacesNewerSnapshots breaks "an_older_snapshot_does_not_replace_a_newer_one",
    /// Whoever asks gets the lease.
    LeasesTwice breaks "one_relay_at_a_time_has_the_lease",
    /// A lease outlives its time.
    NeverEndsALease breaks "a_lease_ends_with_its_time",
    /// Tokens are not compared.
    BelievesFormerHolders breaks "a_former_holders_cursor_is_refused",
    /// A new holder starts from the beginning.
    ForgetsTheCursor breaks "the_relays_cursor_is_handed_on",
}
