//! `restore`: a backup becomes a log again, in another life.

use std::path::Path;

use command_database::{BackupReader, Contents, Copied, PostgresCopy, SqliteCopy, SqliteLogScan, copy, verify_copy};
use model::{EpochId, Position};

use super::{Ended, Storage, Threads, absolute, copying, done, interrupted, postgres};
use crate::{DataDirectory, Error, Settings};

pub(super) fn restore(
    application: &str,
    settings: &Settings,
    storage: &Storage,
    (from, is_dry): (&Path, bool),
    threads: &Threads,
) -> Result<Ended, Error> {
    let failed = copying("restore the log");
    // All of it, before anything is written: its last line is what vouches for the others.
    let mut progress = threads.progress("reading the backup");
    let contents = BackupReader::check(from, application, &mut |step| progress.tell(step)).map_err(failed)?;
    let Some(contents) = contents else { return Ok(interrupted("nothing was written.")) };
    drop(progress);
    let (events, epoch) = (Position::count(contents.head), EpochId(threads.runtime.uuid()));
    let job = Job { application, from, epoch, contents, threads };
    let data = Path::new(&settings.data);
    let (to, copied) = match storage {
        Storage::Embedded if is_dry => {
            DataDirectory::check_restorable(data, application)?;
            (absolute(data), Copied::Whole)
        }
        Storage::Embedded => (absolute(data), job.write_directory(data)?),
        Storage::Servers => {
            let config = postgres(settings)?;
            let target = PostgresCopy::open(&config, &threads.handle).map_err(failed)?;
            target.check(&job.contents).map_err(failed)?;
            let name = target.name().to_owned();
            (name, if is_dry { Copied::Whole } else { job.write_database(settings, target)? })
        }
    };
    if copied == Copied::Stopped {
        return Ok(interrupted("nothing opens what was written so far. Run it again."));
    }
    if is_dry {
        return Ok(done(&[format!("{} is whole: {events} events would be restored to {to}.", from.display())]));
    }
    Ok(done(&[
        format!("{to} has the log of {}: {events} events, and the hash chain holds to the last.", from.display()),
        format!("It goes on with position {} in epoch {epoch}. Read models are filled from the log.", events + 1),
    ]))
}

struct Job<'a> {
    application: &'a str,
    from: &'a Path,
    epoch: EpochId,
    contents: Contents,
    threads: &'a Threads,
}

impl Job<'_> {
    /// Nothing opens the directory before the log in it is whole and in its new life.
    fn write_directory(&self, data: &Path) -> Result<Copied, Error> {
        let failed = copying("restore the log");
        let directory = DataDirectory::open_to_restore(data, self.application)?;
        let log = DataDirectory::log(directory.path());
        let mut target = SqliteCopy::new(&log);
        let mut backup = BackupReader::open(self.from, self.application).map_err(failed)?;
        let mut progress = self.threads.progress("restoring");
        if copy(&mut backup, &mut target, &mut |step| progress.tell(step)).map_err(failed)? == Copied::Stopped {
            return Ok(Copied::Stopped);
        }
        drop(progress);
        let mut progress = self.threads.progress("verifying the hash chain");
        let mut scan = SqliteLogScan::open(&log).map_err(failed)?;
        let copied = verify_copy(&mut scan, &self.contents, &mut |step| progress.tell(step)).map_err(failed)?;
        if copied == Copied::Whole {
            drop(scan);
            target.end(self.epoch, self.threads.now()).map_err(failed)?;
            directory.restored(self.application)?;
        }
        Ok(copied)
    }

    fn write_database(&self, settings: &Settings, mut target: PostgresCopy) -> Result<Copied, Error> {
        let failed = copying("restore the log");
        let mut backup = BackupReader::open(self.from, self.application).map_err(failed)?;
        let mut progress = self.threads.progress("restoring");
        if copy(&mut backup, &mut target, &mut |step| progress.tell(step)).map_err(failed)? == Copied::Stopped {
            return Ok(Copied::Stopped);
        }
        drop(progress);
        let mut progress = self.threads.progress("verifying the hash chain");
        let config = postgres(settings)?;
        let mut scan = target.scan(&config, &self.threads.handle).map_err(failed)?;
        let copied = verify_copy(&mut scan, &self.contents, &mut |step| progress.tell(step)).map_err(failed)?;
        if copied == Copied::Whole {
            let cause = format!("restored from {}", absolute(self.from));
            target.end(self.epoch, self.threads.now(), &cause).map_err(failed)?;
        }
        Ok(copied)
    }
}
