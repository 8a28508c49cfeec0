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
    /// Nobody answers at the address of the server.
    #[error("cannot reach NATS at {server}: {reason}: start it, or change `message_queue.servers`")]
    Unreachable {
        /// Where it should be.
        server: String,
        /// What was seen.
        reason: String,
    },
    /// One end does not believe the other's certificate, or speaks no TLS.
    #[error(
        "no TLS with NATS at {server}: {reason}: see `message_queue.ca_path`, by which the server is believed, and \
         `message_queue.certificate_path`, if it wants to know who asks"
    )]
    Tls {
        /// Which server.
        server: String,
        /// What was seen.
        reason: String,
    },
    /// The server does not let this process in.
    #[error(
        "NATS at {server} refuses who asks: change `message_queue.credentials`, or the users in the server's configuration"
    )]
    Credentials {
        /// Which server.
        server: String,
    },
    /// The server keeps no streams.
    #[error("NATS at {server} has no JetStream for this account: add `jetstream {{}}` to the server's configuration")]
    NoJetStream {
        /// Which server.
        server: String,
    },
    /// There is a stream of this name, and it is not what the queue needs. Nothing was written to it.
    #[error(
        "stream {stream} has `{setting}` {found} instead of {wanted}: change `{key}` or the stream, or choose another `message_queue.stream`"
    )]
    OtherStream {
        /// The stream's name.
        stream: String,
        /// JetStream's name of what differs.
        setting: &'static str,
        /// What the stream has.
        found: String,
        /// What this queue is configured for.
        wanted: String,
        /// This queue's setting for it.
        key: &'static str,
    },
    /// The server does not make the stream as it is configured.
    #[error("NATS does not make stream {stream}: {reason}: change `{key}`, or what the server allows")]
    NoStream {
        /// The stream's name.
        stream: String,
        /// What the server said.
        reason: String,
        /// The setting that most likely is in the way.
        key: &'static str,
    },
}
