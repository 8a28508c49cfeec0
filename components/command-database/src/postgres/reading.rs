//! Ranges of the log, its end, its lives, and what is under a key.

use std::sync::Arc;

use jiff::Timestamp;
use model::{Epoch, EpochId, Hash, Lineage, Position, StoredEvent};
use tokio_postgres::Row;

use super::{
    batch,
    connections::Connections,
    failure::{Failure, Result},
    row::{self, COLUMNS, number, position, value},
};
use crate::{Head, IdempotencyRecord, ReadLimit};

/// Rows of `events` up to the limits of a read, which the server keeps too: what is too much does not travel.
pub(super) fn limited(rows: &str, order: &str, events_max: &str, bytes_max: &str) -> String {
    limited_columns(COLUMNS, rows, order, events_max, bytes_max)
}

/// As [`limited`], of these columns, of which one is the payload.
pub(super) fn limited_columns(columns: &str, rows: &str, order: &str, events_max: &str, bytes_max: &str) -> String {
    format!(
        "SELECT {columns} FROM (SELECT {columns}, sum(octet_length(payload)) OVER (ORDER BY {order} \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before FROM (SELECT {columns} FROM diptych.events {rows} \
         ORDER BY {order} LIMIT {events_max}) AS within) AS summed \
         WHERE bytes_before IS NULL OR bytes_before < {bytes_max} ORDER BY {order}"
    )
}

/// As the server counts. At least one event is wanted.
pub(super) fn limits(limit: ReadLimit) -> (i64, i64) {
    let most = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    (most(limit.events_max.max(1)), most(limit.bytes_max))
}

const HEAD: &str = "SELECT position, hash, epoch, recorded_at FROM diptych.log_head";

impl Connections {
    pub(super) async fn read_log(&self, after: Option<Position>, limit: ReadLimit) -> Result<Vec<Arc<StoredEvent>>> {
        let statement = limited("WHERE position > $1", "position", "$2", "$3");
        let (events_max, bytes_max) = limits(limit);
        let rows = self.read(&statement, &[&number(Position::count(after)), &events_max, &bytes_max]).await?;
        let mut events = Vec::with_capacity(rows.len());
        let mut buffer = Vec::new();
        let mut expected = Position::after(after);
        for row in &rows {
            let event = row::decode(row, &mut buffer)?;
            if event.position != expected {
                return Err(Failure::corrupt(expected.get(), "the position is missing"));
            }
            expected = expected.next();
            events.push(Arc::new(event));
        }
        Ok(events)
    }

    pub(super) async fn read_head(&self) -> Result<Head> {
        // What was seen before the question: another task may see more before the answer is here.
        let seen = *self.seen.lock();
        let mut head = self.read_head_once().await?;
        if self.recognise_fall(seen, head.epoch, head.position).await? {
            head = self.read_head_once().await?;
        }
        self.seen.lock().note(head.epoch, head.position);
        Ok(head)
    }

    async fn read_head_once(&self) -> Result<Head> {
        let row = self.read_head_row().await?;
        Ok(Head { position: position(&row, 0)?, hash: row::hash(&row, 1)?, epoch: EpochId(value(&row, 2)?) })
    }

    pub(super) async fn read_last_recorded_at(&self) -> Result<Option<Timestamp>> {
        let row = self.read_head_row().await?;
        let Some(position) = position(&row, 0)? else { return Ok(None) };
        let out_of_range = |_| Failure::corrupt(position.get(), "a time is out of range");
        Timestamp::from_microsecond(value(&row, 3)?).map(Some).map_err(out_of_range)
    }

    async fn read_head_row(&self) -> Result<Row> {
        self.read(HEAD, &[]).await?.pop().ok_or_else(|| Failure::corrupt(0, "the end of the log is not recorded"))
    }

    pub(super) async fn read_lineage(&self) -> Result<Lineage> {
        let rows = self.read("SELECT epoch, first FROM diptych.lineage ORDER BY ordinal", &[]).await?;
        let epoch = |row: &Row| {
            let first = position(row, 1)?.ok_or_else(|| Failure::corrupt(0, "an epoch begins at position 0"))?;
            Ok(Epoch { id: EpochId(value(row, 0)?), first })
        };
        rows.iter().map(epoch).collect::<Result<_>>().map(Lineage)
    }

    pub(super) async fn read_key(&self, key: Hash) -> Result<Option<IdempotencyRecord>> {
        let statement = "SELECT fingerprint, command_id, first, events, version, head, refusal, checksum
            FROM diptych.idempotency WHERE key = $1";
        let rows = self.read(statement, &[&&key.0[..]]).await?;
        rows.first().map(|row| batch::record(row, 0, &key)).transpose()
    }
}
