//! Streams: where they stand, their snapshots, their events.

use model::{StoredEvent, StreamId, StreamVersion};
use tokio_postgres::Row;

use super::{
    connections::Connections,
    failure::{Failure, Result},
    reading::{limited, limits},
    row::{self, counted, number, value},
    text,
};
use crate::{Load, Loaded, ReadLimit, Snapshot};

impl Connections {
    pub(super) async fn load_streams(&self, streams: &[Load], limit: ReadLimit) -> Result<Vec<Loaded>> {
        let ids: Vec<_> = streams.iter().map(|load| &load.stream).collect();
        let shapes: Vec<&[u8]> = streams.iter().map(|load| &load.state_shape.0[..]).collect();
        let found = self.find_streams(&ids, &shapes).await?;
        let wanted: Vec<_> = found.iter().flatten().map(Found::wanted).collect();
        let mut events = self.stream_events(&wanted, limit).await?.into_iter();
        let loaded = streams.iter().zip(found).map(|(load, found)| match found {
            None => Loaded { snapshot: None, events: Vec::new(), version: None },
            Some(found) => Loaded {
                snapshot: found.snapshot.map(|(version, state)| Snapshot {
                    stream: load.stream.clone(),
                    version,
                    state_shape: load.state_shape,
                    state,
                }),
                events: events.next().unwrap_or_default(),
                version: Some(found.version),
            },
        });
        Ok(loaded.collect())
    }

    pub(super) async fn read_one_stream(
        &self,
        id: &StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEvent>> {
        let Some(found) = self.find_streams(&[id], &[&[]]).await?.pop().flatten() else { return Ok(Vec::new()) };
        let wanted = Wanted { after, ..found.wanted() };
        Ok(self.stream_events(&[wanted], limit).await?.pop().unwrap_or_default())
    }

    /// The events of each stream up to the version that was seen: what comes later is another read's. Limits are for each.
    async fn stream_events(&self, wanted: &[Wanted], limit: ReadLimit) -> Result<Vec<Vec<StoredEvent>>> {
        let mut events: Vec<Vec<StoredEvent>> = wanted.iter().map(|_| Vec::new()).collect();
        if wanted.iter().all(|wanted| wanted.after >= Some(wanted.last)) {
            return Ok(events);
        }
        let of_stream =
            limited("WHERE stream = w.stream AND version > w.after AND version <= w.last", "version", "$4", "$5");
        let statement = format!(
            "SELECT e.*, w.n FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (stream, after, last, n) \
             CROSS JOIN LATERAL ({of_stream}) AS e ORDER BY w.n, e.version"
        );
        let numbers = |part: fn(&Wanted) -> i64| wanted.iter().map(part).collect::<Vec<_>>();
        let (streams, lasts) = (numbers(|wanted| wanted.stream), numbers(|wanted| number(wanted.last.get())));
        let afters = numbers(|wanted| number(StreamVersion::count(wanted.after)));
        let (events_max, bytes_max) = limits(limit);
        let mut buffer = Vec::new();
        for row in self.read(&statement, &[&streams, &afters, &lasts, &events_max, &bytes_max]).await? {
            let ordinal = usize::try_from(value::<i64>(&row, NUMBER_COLUMN)? - 1).unwrap_or(usize::MAX);
            let (Some(wanted), Some(events)) = (wanted.get(ordinal), events.get_mut(ordinal)) else { continue };
            let event = row::decode(&row, &mut buffer)?;
            wanted.check_next(events.last(), &event)?;
            events.push(event);
        }
        let missing =
            wanted.iter().zip(&events).find(|(wanted, events)| wanted.after < Some(wanted.last) && events.is_empty());
        match missing {
            Some((wanted, _)) => {
                Err(Failure::corrupt(0, format!("the events of stream {} are missing", wanted.stream)))
            }
            None => Ok(events),
        }
    }

    /// Where streams stand, each with its snapshot of the wanted shape; `None` where there is none of that name.
    async fn find_streams(&self, ids: &[&StreamId], shapes: &[&[u8]]) -> Result<Vec<Option<Found>>> {
        let texts = |part: fn(&StreamId) -> &str| ids.iter().map(|id| text::store(part(id))).collect::<Vec<_>>();
        let (tenants, aggregates) = (texts(|id| id.tenant.as_str()), texts(|id| &id.aggregate));
        let names = texts(|id| &id.id);
        let rows = self.read(FIND_STREAMS, &[&tenants, &aggregates, &names, &shapes]).await?;
        let found = rows.iter().zip(shapes).map(|(row, shape)| Found::decode(row, shape));
        found.collect()
    }
}

/// Comes after those of an event.
const NUMBER_COLUMN: usize = 21;

/// A stretch of a stream.
struct Wanted {
    stream: i64,
    after: Option<StreamVersion>,
    last: StreamVersion,
}

impl Wanted {
    /// Whether `event` follows on what was read before it.
    fn check_next(&self, before: Option<&StoredEvent>, event: &StoredEvent) -> Result<()> {
        let expected = StreamVersion::after(before.map(|event| event.version).or(self.after));
        if event.version == expected {
            return Ok(());
        }
        let found = format!("version {expected} of its stream is missing before it");
        Err(Failure::corrupt(event.position.get(), found))
    }
}

/// By index, whatever the tables' sizes were when the plan was made: a sub-query for each name.
const FIND_STREAMS: &str = "SELECT s.stream, s.version, p.version, p.checksum, p.state
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS w (tenant, aggregate, id, shape, n)
    LEFT JOIN LATERAL (SELECT stream, version FROM diptych.streams t
        WHERE t.tenant = w.tenant AND t.aggregate = w.aggregate AND t.id = w.id LIMIT 1) s ON true
    LEFT JOIN LATERAL (SELECT version, checksum, state FROM diptych.snapshots t
        WHERE t.stream = s.stream AND t.state_shape = w.shape LIMIT 1) p ON true
    ORDER BY w.n";

struct Found {
    stream: i64,
    version: StreamVersion,
    snapshot: Option<(StreamVersion, bytes::Bytes)>,
}

impl Found {
    /// What the snapshot does not have.
    fn wanted(&self) -> Wanted {
        let after = self.snapshot.as_ref().map(|(version, _)| *version);
        Wanted { stream: self.stream, after, last: self.version }
    }

    fn decode(row: &Row, shape: &[u8]) -> Result<Option<Self>> {
        let Some(stream) = value(row, 0)? else { return Ok(None) };
        let version = StreamVersion::new(counted(row, 1)?);
        let version = version.ok_or_else(|| Failure::corrupt(0, format!("stream {stream} has version 0")))?;
        // A snapshot is a hint: one that is damaged, or ahead of its stream, is as good as none.
        let snapshot = StreamVersion::new(counted(row, 2)?).filter(|snapshot| *snapshot <= version);
        let snapshot = match (snapshot, value::<Option<i32>>(row, 3)?, value::<Option<&[u8]>>(row, 4)?) {
            (Some(version), Some(checksum), Some(state)) if snapshot_checksum(version, shape, state) == checksum => {
                Some((version, bytes::Bytes::copy_from_slice(state)))
            }
            _ => None,
        };
        Ok(Some(Self { stream, version, snapshot }))
    }
}

pub(super) fn snapshot_checksum(version: StreamVersion, shape: &[u8], state: &[u8]) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version.get().to_be_bytes());
    hasher.update(shape);
    hasher.update(state);
    hasher.finalize().cast_signed()
}
