//! The stored outcome of a command, told again.

use command_database::{Error, EventStore, IdempotencyRecord, ReadLimit, StoredDecision};
use model::{ConsistencyToken, Position, StreamVersion};
use tracing::error;

use crate::{
    AcceptedEvent, CommandOutcome,
    complete::{chain, unread},
    job::Job,
    refusal::Refusal,
};

/// What is stored under the job's key, or `outcome` where nothing is.
pub(crate) async fn stored_or(store: &dyn EventStore, job: &Job, outcome: CommandOutcome) -> CommandOutcome {
    let Some(idempotency) = job.request.idempotency else {
        return outcome;
    };
    match store.idempotency(idempotency.key).await {
        Ok(None) => outcome,
        Ok(Some(record)) if record.fingerprint != idempotency.fingerprint => CommandOutcome::IdempotencyKeyReused,
        Ok(Some(record)) => self::outcome(store, job, record).await,
        Err(error) => failed(job, &error),
    }
}

/// The answer that the command of `record` got, but for `replayed`.
pub(crate) async fn outcome(store: &dyn EventStore, job: &Job, record: IdempotencyRecord) -> CommandOutcome {
    match &record.decision {
        StoredDecision::Refused(bytes) => match Refusal::decode(bytes) {
            Ok(refusal) => refusal.into_outcome(true),
            Err(error) => {
                error!(stream.id = %job.stream, error = %error, "a stored refusal cannot be read");
                CommandOutcome::Internal
            }
        },
        StoredDecision::Accepted { first, events, version, head } => {
            let again = accepted(store, &record, *first, *events, *version, *head).await;
            again.unwrap_or_else(|error| failed(job, &error))
        }
    }
}

async fn accepted(
    store: &dyn EventStore,
    record: &IdempotencyRecord,
    first: Option<Position>,
    count: u32,
    version: Option<StreamVersion>,
    head: Option<Position>,
) -> Result<CommandOutcome, Error> {
    let mut events: Vec<AcceptedEvent> = Vec::with_capacity(count as usize);
    let mut trace_id = None;
    while let (Some(first), true) = (first, events.len() < count as usize) {
        let next = first.plus(events.len() as u64);
        let limit = ReadLimit { events_max: count as usize - events.len(), ..ReadLimit::default() };
        let page = store.read(Position::new(next.get() - 1), limit).await?;
        if page.is_empty() {
            let found = format!("command {} is said to have {count} events from {first} on", record.command_id);
            return Err(Error::Corrupt { log: Default::default(), position: next.get(), found });
        }
        for event in page {
            trace_id = Some(event.metadata.trace.trace_id);
            let (id, event_type) = (event.event_id, event.event_type.clone());
            events.push(AcceptedEvent { id, event_type, version: event.version, position: event.position });
        }
    }
    let last = events.last().map(|event| event.position).or(head);
    let token = match last {
        Some(position) => {
            let epoch = store.lineage().await?.epoch_of(position);
            epoch.map(|epoch| ConsistencyToken { epoch, position })
        }
        None => None,
    };
    Ok(CommandOutcome::Accepted {
        command_id: record.command_id,
        version,
        created: events.first().is_some_and(|event| event.version == StreamVersion::FIRST),
        events,
        token,
        trace_id,
        replayed: true,
    })
}

fn failed(job: &Job, error: &Error) -> CommandOutcome {
    error!(stream.id = %job.stream, error = %chain(error), "cannot read the stored outcome of a command");
    unread(error)
}
