/// Why the queue did not take or give messages. None of it loses an event: the log has them all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not answer, or was turned off.
    #[error("the message queue does not answer: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// What came back is not from the stream that was written to, or from another life of it.
    #[error("the acknowledgement is from another life of the queue: check what it holds before going on")]
    WrongLife,
    /// The reader was too slow: what it would get next is no longer there.
    #[error("the reader was overrun: read the log up to position {resume_after}, then subscribe again")]
    Overrun {
        /// The position before the oldest message still there.
        resume_after: u64,
    },
    /// A message does not decode.
    #[error("a message cannot be decoded: {reason}")]
    Undecodable {
        /// What is wrong with it.
        reason: String,
    },
}
