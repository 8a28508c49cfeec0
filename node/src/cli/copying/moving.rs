//! `move`: the log of a data directory goes on in PostgreSQL.
//!
//! The order is what makes a crash between any two steps harmless: the copy is written into a log that nobody else may use,
//! read back whole, and only then is the source sealed; the seal has the epoch that the target begins last. Run again, it goes
//! on from whatever is there.

use std::path::Path;

use command_database::{
    Contents, Copied, CopySource, LogSource, PostgresConfig, PostgresCopy, SqliteLogScan, copy, verify_copy,
};
use model::{EpochId, Position};

use super::{Ended, Threads, absolute, copying, done, interrupted, postgres};
use crate::{DataDirectory, Error, Settings, data_directory::Seal};

pub(super) fn move_log(
    application: &str,
    settings: &Settings,
    is_dry: bool,
    threads: &Threads,
) -> Result<Ended, Error> {
    if settings.command_database.url.is_empty() {
        let wanted = "move needs the database that the log goes to: name it with --to, or as command_database.url";
        return Err(Error::Settings(wanted.to_owned()));
    }
    let config = postgres(settings)?;
    let from = Path::new(&settings.data);
    let (directory, seal) = DataDirectory::open_to_move(from, application)?;
    let target = PostgresCopy::open(&config, &threads.handle).map_err(copying(MOVE))?;
    if let Some(seal) = &seal {
        if seal.to != target.name() {
            return Err(Error::Moved { path: from.to_owned(), to: seal.to.clone(), epoch: seal.epoch });
        }
        if target.has_ended(seal.epoch).map_err(copying(MOVE))? {
            return Ok(done(&[format!("{} was moved to {} already.", from.display(), seal.to)]));
        }
    }
    let to = target.name().to_owned();
    let epoch = seal.map_or_else(|| EpochId(threads.runtime.uuid()), |seal| seal.epoch);
    Move { application, from, to, epoch, directory, config, threads }.run(target, is_dry)
}

const MOVE: &str = "move the log";

struct Move<'a> {
    application: &'a str,
    from: &'a Path,
    to: String,
    epoch: EpochId,
    directory: DataDirectory,
    config: PostgresConfig,
    threads: &'a Threads,
}

impl Move<'_> {
    fn run(&self, mut target: PostgresCopy, is_dry: bool) -> Result<Ended, Error> {
        let mut scan = SqliteLogScan::open(&DataDirectory::log(self.from)).map_err(copying(MOVE))?;
        let mut source = LogSource::new(&mut scan).map_err(copying(MOVE))?;
        let contents = source.contents().clone();
        target.check(&contents).map_err(copying(MOVE))?;
        if is_dry {
            return Ok(self.would_do(&contents));
        }
        if self.copy(&mut source, &mut target, &contents)? == Copied::Stopped {
            return Ok(interrupted("nothing is sealed by it. Run it again to go on."));
        }
        let key = self.page_token_key()?;
        // From here on the log is here or there, and never in both places: the seal comes first.
        self.directory.seal(self.application, &Seal { to: self.to.clone(), epoch: self.epoch })?;
        let cause = format!("moved from {}", absolute(self.from));
        target.end(self.epoch, self.threads.now(), &cause).map_err(copying(MOVE))?;
        Ok(self.has_done(&contents, &key))
    }

    /// All of it, and read back.
    fn copy(
        &self,
        source: &mut LogSource<'_>,
        target: &mut PostgresCopy,
        contents: &Contents,
    ) -> Result<Copied, Error> {
        let mut progress = self.threads.progress("copying");
        if copy(source, target, &mut |step| progress.tell(step)).map_err(copying(MOVE))? == Copied::Stopped {
            return Ok(Copied::Stopped);
        }
        drop(progress);
        let mut progress = self.threads.progress("verifying the hash chain");
        let mut copied = target.scan(&self.config, &self.threads.handle).map_err(copying(MOVE))?;
        verify_copy(&mut copied, contents, &mut |step| progress.tell(step)).map_err(copying(MOVE))
    }

    /// The key that page tokens were sealed with, as the setting has it: the file's name.
    fn page_token_key(&self) -> Result<String, Error> {
        let secret = self.directory.secret("page-token", &self.threads.runtime)?;
        let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(absolute(&self.directory.write("page-token.key", digits.as_bytes())?))
    }

    fn would_do(&self, contents: &Contents) -> Ended {
        let (from, to, events) = (self.from.display(), &self.to, Position::count(contents.head));
        done(&[
            format!("{events} events, their lineage, and the idempotency keys of {from} would go to {to}."),
            format!("Then {from} would be sealed, and the log go on at {to} with position {}.", events + 1),
        ])
    }

    fn has_done(&self, contents: &Contents, key: &str) -> Ended {
        let (from, to, events) = (self.from.display(), &self.to, Position::count(contents.head));
        done(&[
            format!("The log of {from} is at {to} now: {events} events, and the hash chain holds to the last."),
            format!("It goes on with position {} in epoch {}.", events + 1, self.epoch),
            format!("{from} is sealed, and kept as it was."),
            "Read models are not moved: the event handlers fill them from the log.".to_owned(),
            format!("Page tokens go on where DIPTYCH__QUERY_SERVICE__PAGE_TOKEN_KEY_FILE={key}"),
        ])
    }
}
