//! The log on PostgreSQL as the target of a copy. What is written is durable with each call, so that a copy goes on where it
//! was; until it ends, the log is refused to everybody else.

use model::{EpochId, Hash, Position};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    alone::{Access, Alone},
    check::Found,
    config::PostgresConfig,
    copy_columns::{Events, Records},
    failure::{Failure, Result},
    row::{self, number, value},
    scan::PostgresLogScan,
};
use crate::{Contents, CopiedEvent, CopiedRecord, CopyTarget, Error, LogScan, Progress};

/// A database that a log is copied into.
///
/// Takes a user who may [migrate](super::PostgresEventStore::migrate) it.
pub struct PostgresCopy {
    connection: Alone,
}

impl std::fmt::Debug for PostgresCopy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresCopy").field("log", &self.connection.log()).finish_non_exhaustive()
    }
}

/// What is there to write into.
enum Room {
    /// No tables yet, or none of this binary's format.
    Unmade,
    Empty,
    /// A part of a copy, of this source.
    Part(Hash),
}

impl PostgresCopy {
    /// Connects, and writes nothing. `threads` carry the connection; the caller's own must not be one of them, since this and
    /// what follows block.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::UnsafeSetting`], [`Error::Connect`], [`Error::Address`].
    pub fn open(config: &PostgresConfig, threads: &Handle) -> std::result::Result<Self, Error> {
        let address = config.parse()?;
        let log = address.log.clone();
        let opened = Alone::connect(address, Access::Write, threads).and_then(|connection| {
            connection.look()?;
            Ok(Self { connection })
        });
        opened.map_err(|failure| failure.while_connecting(&log))
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.connection.log()
    }

    /// Whether a copy of `contents` may be written here, or taken up again. Writes nothing.
    ///
    /// # Errors
    /// [`Error::NotEmpty`].
    pub fn check(&self, contents: &Contents) -> std::result::Result<(), Error> {
        match self.writing(self.room())? {
            Room::Unmade | Room::Empty => Ok(()),
            Room::Part(_) => self.check_part(contents),
        }
    }

    /// Of a part that is there, all has to be of the log that is copied.
    fn check_part(&self, contents: &Contents) -> std::result::Result<(), Error> {
        let other = |found: &str| Error::NotEmpty { log: self.name().to_owned(), found: found.to_owned() };
        let found = self.writing(self.scan_epochs())?;
        let copied: Vec<_> = contents.epochs.iter().map(|epoch| (epoch.id, epoch.first)).collect();
        if found != copied {
            return Err(other("it has a part of a copy of another log, or of another life of this one"));
        }
        let progress = self.writing(self.progress())?;
        if progress.position > contents.head {
            return Err(other("it has a part of a copy that went further than this one"));
        }
        Ok(())
    }

    /// Whether the log is one that has been copied here as `epoch` to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_ended(&self, epoch: EpochId) -> std::result::Result<bool, Error> {
        let ended = || match self.connection.look()? {
            Found::Empty => Ok(false),
            Found::Log { .. } => {
                let statement = "SELECT EXISTS (SELECT FROM diptych.lineage WHERE epoch = $1)";
                value(&self.connection.query_one(statement, &[&epoch.0])?, 0)
            }
        };
        self.writing(ended())
    }

    /// The log, to read back what was written.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub fn scan(&self, config: &PostgresConfig, threads: &Handle) -> std::result::Result<impl LogScan + use<>, Error> {
        let connection = Alone::connect(config.parse()?, Access::Read, threads);
        connection.map(PostgresLogScan::over).map_err(|failure| failure.while_connecting(self.name()))
    }

    /// Begins the life `epoch`, for `cause`, and opens the log to everybody: in one transaction.
    ///
    /// # Errors
    /// As [`EventStore::append`](crate::EventStore::append): after [`Error::Commit`], [`PostgresCopy::has_ended`] tells.
    pub fn end(&self, epoch: EpochId, now: i64, cause: &str) -> std::result::Result<(), Error> {
        self.committing(self.connection.query("SELECT diptych.end_copy($1, $2, $3)", &[&epoch.0, &now, &cause]))
            .map(drop)
    }

    fn room(&self) -> Result<Room> {
        match self.connection.look()? {
            Found::Log { format } if format >= super::check::FORMAT => {}
            Found::Empty | Found::Log { .. } => return Ok(Room::Unmade),
        }
        let state = "SELECT (SELECT source FROM diptych.copying), position, (SELECT count(*) FROM diptych.lineage),
            EXISTS (SELECT FROM diptych.idempotency) FROM diptych.log_head";
        let row = self.connection.query_one(state, &[])?;
        if let Some(source) = value::<Option<&[u8]>>(&row, 0)? {
            return Ok(Room::Part(Hash::from_slice(source).unwrap_or_default()));
        }
        let (position, epochs) = (value::<i64>(&row, 1)?, value::<i64>(&row, 2)?);
        let found = match (position, epochs, value::<bool>(&row, 3)?) {
            (0, 1, false) => return Ok(Room::Empty),
            (0, 1, true) => "it has idempotency keys".to_owned(),
            (0, epochs, _) => format!("it has {epochs} epochs"),
            (position, ..) => format!("it has events up to position {position}"),
        };
        Err(Failure::Known(Error::NotEmpty { log: self.name().to_owned(), found }))
    }

    fn scan_epochs(&self) -> Result<Vec<(EpochId, Position)>> {
        let rows = self.connection.query("SELECT epoch, first FROM diptych.lineage ORDER BY ordinal", &[])?;
        let epoch = |row: &tokio_postgres::Row| {
            Ok((EpochId(value(row, 0)?), row::position(row, 1)?.unwrap_or(Position::FIRST)))
        };
        rows.iter().map(epoch).collect()
    }

    fn progress(&self) -> Result<Progress> {
        let statement = "SELECT position, hash, (SELECT key FROM diptych.idempotency ORDER BY key DESC LIMIT 1)
            FROM diptych.log_head";
        let row = self.connection.query_one(statement, &[])?;
        let key = value::<Option<&[u8]>>(&row, 2)?.and_then(Hash::from_slice);
        Ok(Progress { position: row::position(&row, 0)?, hash: row::hash(&row, 1)?, key })
    }

    /// What is written from now on belongs to the log's owner.
    fn become_owner(&self) -> Result<()> {
        let migrator = self.connection.address().migrator();
        let role: String = value(&self.connection.query_one("SELECT quote_ident($1)", &[&migrator])?, 0)?;
        self.connection.execute(&format!("SET ROLE {role}"))
    }

    fn begin_new(&self, contents: &Contents) -> Result<()> {
        let epochs: Vec<Uuid> = contents.epochs.iter().map(|epoch| epoch.id.0).collect();
        let firsts: Vec<i64> = contents.epochs.iter().map(|epoch| number(epoch.first.get())).collect();
        let begans: Vec<i64> = contents.epochs.iter().map(|epoch| epoch.began).collect();
        let (source, clock, relayed) = state(contents);
        let statement = "SELECT diptych.begin_copy($1, $2, $3, $4, $5, $6)";
        self.connection.query(statement, &[&&source.0[..], &epochs, &firsts, &begans, &clock, &relayed])?;
        Ok(())
    }

    fn begin_again(&self, contents: &Contents) -> Result<()> {
        let (source, clock, relayed) = state(contents);
        self.connection.query("SELECT diptych.begin_copy_again($1, $2, $3)", &[&&source.0[..], &clock, &relayed])?;
        Ok(())
    }

    fn writing<T>(&self, result: Result<T>) -> std::result::Result<T, Error> {
        result.map_err(|failure| match failure {
            Failure::Known(error) => error,
            failure => failure.while_writing(self.name()),
        })
    }

    fn committing<T>(&self, result: Result<T>) -> std::result::Result<T, Error> {
        result.map_err(|failure| failure.while_committing(self.name()))
    }
}

/// What tells the copy from another one; the log's clock in microseconds; the relay's cursor.
fn state(contents: &Contents) -> (Hash, i64, Option<i64>) {
    let clock = i64::try_from(contents.clock.as_micros()).unwrap_or(i64::MAX);
    (contents.fingerprint(), clock, contents.relayed.map(|position| number(position.get())))
}

impl CopyTarget for PostgresCopy {
    fn begin(&mut self, contents: &Contents) -> std::result::Result<Progress, Error> {
        let mut room = self.writing(self.room())?;
        if matches!(room, Room::Unmade) {
            self.connection.migrate().map_err(|failure| failure.while_migrating(self.name()))?;
            room = self.writing(self.room())?;
        }
        self.writing(self.become_owner())?;
        match room {
            Room::Part(source) => {
                self.check_part(contents)?;
                if source != contents.fingerprint() {
                    self.committing(self.begin_again(contents))?;
                }
            }
            Room::Unmade | Room::Empty => self.committing(self.begin_new(contents))?,
        }
        self.writing(self.progress())
    }

    fn records(&mut self, records: &[CopiedRecord]) -> std::result::Result<(), Error> {
        let columns = Records::of(records);
        let statement = "SELECT diptych.copy_records($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.committing(self.connection.query(statement, &columns.parameters())).map(drop)
    }

    fn events(&mut self, events: &[CopiedEvent]) -> std::result::Result<(), Error> {
        let columns = Events::of(events);
        let statement = "SELECT diptych.copy_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
            $18, $19, $20, $21, $22, $23)";
        self.committing(self.connection.query(statement, &columns.parameters())).map(drop)
    }
}
