//! `backup`: a log into a file, beside a running system or a stopped one.

use std::path::{Path, PathBuf};

use command_database::{Backup, Copied, CopySource, LogScan, LogSource, PostgresLogScan, SqliteLogScan, copy};
use model::Position;

use super::{Ended, Storage, Threads, copying, done, interrupted, postgres};
use crate::{DataDirectory, Error, Settings};

pub(super) fn backup(
    application: &str,
    settings: &Settings,
    storage: &Storage,
    to: &Path,
    threads: &Threads,
) -> Result<Ended, Error> {
    let failed = copying("back the log up");
    let mut scan: Box<dyn LogScan> = match storage {
        Storage::Embedded => {
            let data = Path::new(&settings.data);
            DataDirectory::check(data, application)?;
            Box::new(SqliteLogScan::open(&DataDirectory::log(data)).map_err(failed)?)
        }
        Storage::Servers => {
            let config = postgres(settings)?;
            Box::new(PostgresLogScan::open(&config, &threads.handle).map_err(failed)?)
        }
    };
    let name = scan.name();
    let mut source = LogSource::new(&mut *scan).map_err(failed)?;
    let events = Position::count(source.contents().head);
    let path = file(to, application, &threads.runtime.wall_clock().to_string());
    let mut target = Backup::create(&path, application).map_err(failed)?;
    let mut progress = threads.progress("copying");
    if copy(&mut source, &mut target, &mut |step| progress.tell(step)).map_err(failed)? == Copied::Stopped {
        return Ok(interrupted("there is no backup."));
    }
    drop(progress);
    let mut progress = threads.progress("reading it back");
    if target.end(&mut |step| progress.tell(step)).map_err(failed)? == Copied::Stopped {
        return Ok(interrupted("there is no backup."));
    }
    drop(progress);
    let with = "with lineage and idempotency keys; it was read back and is whole";
    Ok(done(&[format!("{}: {events} events of {name}, {with}.", path.display())]))
}

/// Within a directory, a name that says what it is of and when it was made.
fn file(to: &Path, application: &str, now: &str) -> PathBuf {
    if !to.is_dir() {
        return to.to_owned();
    }
    // To the second, and without what some file systems do not take.
    let time: String = now.chars().take(19).map(|character| if character == ':' { '-' } else { character }).collect();
    to.join(format!("{application}-{time}Z.backup.gz"))
}
