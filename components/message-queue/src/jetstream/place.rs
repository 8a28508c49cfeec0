//! Where a position is among the sequences of the stream.

use async_nats::jetstream::{context::RequestErrorKind, message::StreamMessage, stream::RawMessageErrorKind};
use model::Position;

use super::{
    Shared,
    stream::{Seen, unavailable},
};
use crate::Error;

/// Positions rise with sequences, but for stretches that were published again. A reader starts this much earlier than where
/// it was found that they pass what it has.
const MARGIN: u64 = 512;
/// How many messages at the end are looked at for one that has a position.
const LAST_MAX: u64 = 16;

/// A message, as it was asked for by its sequence.
pub(super) enum Raw {
    Message(StreamMessage),
    /// It is there, and its headers are not what headers are.
    Unreadable(String),
    Missing,
}

impl Shared {
    /// Reads one message by itself: whatever it contains, it does not disturb the connection.
    pub(super) async fn raw(&self, sequence: u64) -> Result<Raw, Error> {
        let stream = self.link.context().get_stream_no_info(&self.config.stream).await;
        let stream = stream.map_err(|error| unavailable("a message cannot be read", &error))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Raw::Message(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(Raw::Missing),
                RawMessageErrorKind::Other if !is_of_the_request(&error) => {
                    Ok(Raw::Unreadable(super::stream::chain(&error)))
                }
                _ => Err(unavailable("a message cannot be read", &error)),
            },
        }
    }

    /// The position of the message at `sequence`, if it is one that has a position.
    async fn position_at(&self, sequence: u64) -> Result<Option<Position>, Error> {
        let Raw::Message(message) = self.raw(sequence).await? else { return Ok(None) };
        let position = message.headers.get("ce-sequence").and_then(|value| value.as_str().parse().ok());
        Ok(position.and_then(Position::new))
    }

    /// The sequence from which a reader gets all that comes after `after`: rather too early than too late.
    pub(super) async fn start_after(&self, seen: &Seen, after: Option<Position>) -> Result<u64, Error> {
        let first = seen.first.max(1);
        if after.is_none() || seen.messages == 0 {
            return Ok(first);
        }
        // What lies before `low` is not wanted, what lies from `high` on is, or may be.
        let (mut low, mut high) = (first, seen.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.position_at(middle).await? {
                Some(position) if Some(position) <= after => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low.saturating_sub(MARGIN).max(first))
    }

    /// Where a relay goes on: at the end of what the stream has, where that lies before its cursor.
    pub(super) async fn resume_after(&self, cursor: Option<Position>) -> Result<Option<Position>, Error> {
        let seen = self.ensure().await?;
        let Some(cursor) = cursor else { return Ok(None) };
        let earliest = Position::new(cursor.get().saturating_sub(self.config.resume_events_max));
        if seen.messages == 0 {
            // A stream that had messages has let them go in time. A new one has lost all that was in the former.
            return Ok(if seen.last == 0 { earliest } else { Some(cursor) });
        }
        Ok(self.last_position(&seen).await?.max(earliest).min(Some(cursor)))
    }

    async fn last_position(&self, seen: &Seen) -> Result<Option<Position>, Error> {
        let oldest = seen.first.max(seen.last.saturating_sub(LAST_MAX - 1));
        for sequence in (oldest..=seen.last).rev() {
            if let Some(position) = self.position_at(sequence).await? {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }
}

/// Whether it was the request that failed. Otherwise an answer came, and could not be read.
fn is_of_the_request(error: &(dyn std::error::Error + 'static)) -> bool {
    let source =
        error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::context::RequestError>());
    source.is_some_and(|source| {
        matches!(source.kind(), RequestErrorKind::NoResponders | RequestErrorKind::TimedOut | RequestErrorKind::Other)
    })
}
