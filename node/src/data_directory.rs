//! The directory of an embedded system: who may use it is decided before SQLite opens anything in it.

mod stamp;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use runtime::Runtime;

pub(crate) use self::stamp::Seal;
use self::stamp::{FORMAT_DRAFT, Stamp, State};
use crate::Error;

const LOCK_FILE: &str = "LOCK";

/// An embedded system's directory, locked for this process until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory of `application`, or makes it where there is none or an empty one.
    ///
    /// # Errors
    /// Whatever is in the way, with nothing touched: a foreign directory, one of another application, one in use, one that
    /// a newer binary wrote.
    pub fn open(path: &Path, application: &str) -> Result<Self, Error> {
        let failed = |attempted| {
            let path = path.to_path_buf();
            move |source| Error::DataDirectory { path, attempted, source }
        };
        let usable = |stamp: Stamp| stamp.check(path, application).and_then(|()| stamp.check_usable(path));
        match Stamp::read(path)? {
            Some(stamp) => usable(stamp)?,
            None => refuse_foreign(path)?,
        }
        create(path).map_err(failed("creating it"))?;
        let lock = lock(path)?;
        // Another process may have been first between the look and the lock.
        match Stamp::read(path)? {
            Some(stamp) => usable(stamp)?,
            None => Stamp::write(path, application, &State::Usable).map_err(failed("writing FORMAT"))?,
        }
        let path = std::path::absolute(path).map_err(failed("finding it"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Opens the directory of `application` to take its log elsewhere, or to take up what was begun of that.
    ///
    /// # Errors
    /// As [`DataDirectory::open`], and where there is no such directory.
    pub(crate) fn open_to_move(path: &Path, application: &str) -> Result<(Self, Option<Seal>), Error> {
        Self::check(path, application)?;
        let lock = lock(path)?;
        // What it said before the lock may have been said by whoever had it.
        Self::check(path, application)?;
        let seal = match Stamp::read(path)?.map(|stamp| stamp.state) {
            Some(State::Moved(seal)) => Some(seal),
            _ => None,
        };
        Ok((Self { path: path.to_path_buf(), _lock: lock }, seal))
    }

    /// From now on nothing starts on the directory any more. Durable when it returns.
    ///
    /// # Errors
    /// When it cannot be written: then it is not sealed.
    pub(crate) fn seal(&self, application: &str, seal: &Seal) -> Result<(), Error> {
        self.stamp(application, &State::Moved(seal.clone()))
    }

    /// Opens a directory that a log is to be restored into: a new one, an empty one, or what was left by a restore that was
    /// interrupted. Until [`DataDirectory::restored`] nothing else opens it.
    ///
    /// # Errors
    /// As [`DataDirectory::open`], and where there is a log already.
    pub(crate) fn open_to_restore(path: &Path, application: &str) -> Result<Self, Error> {
        let failed = |source| Error::DataDirectory { path: path.to_path_buf(), attempted: "making room in it", source };
        Self::check_restorable(path, application)?;
        create(path).map_err(failed)?;
        let directory = Self { path: path.to_path_buf(), _lock: lock(path)? };
        // As in `open`.
        Self::check_restorable(path, application)?;
        directory.stamp(application, &State::Restoring)?;
        for file in [Self::log(path), Self::rows(path)] {
            for suffix in ["", ".new", ".new-journal", "-wal", "-shm"] {
                match fs::remove_file(format!("{}{suffix}", file.display())) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        }
        Ok(directory)
    }

    /// Whether [`DataDirectory::open_to_restore`] would open it. Touches nothing.
    ///
    /// # Errors
    /// As that.
    pub(crate) fn check_restorable(path: &Path, application: &str) -> Result<(), Error> {
        let Some(stamp) = Stamp::read(path)? else { return refuse_foreign(path) };
        stamp.check(path, application)?;
        if stamp.state == State::Restoring { Ok(()) } else { Err(Error::NotEmpty { path: path.to_path_buf() }) }
    }

    /// What was restored is whole: the directory may be used.
    ///
    /// # Errors
    /// When it cannot be written: then it may not.
    pub(crate) fn restored(&self, application: &str) -> Result<(), Error> {
        self.stamp(application, &State::Usable)
    }

    fn stamp(&self, application: &str, state: &State) -> Result<(), Error> {
        let failed = |source| Error::DataDirectory { path: self.path.clone(), attempted: "writing FORMAT", source };
        Stamp::write(&self.path, application, state).map_err(failed)
    }

    /// Writes a small file for this user alone, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let failed = |source| Error::DataDirectory { path: path.clone(), attempted: "writing it", source };
        write_durably(&self.path.join(format!("{name}.new")), &path, content).map_err(failed)?;
        Ok(path)
    }

    /// Checks that `application` may read the directory, without locking it: for readers beside a running system. One that was
    /// moved can be read like any other.
    ///
    /// # Errors
    /// As [`DataDirectory::open`], and where there is no such directory.
    pub fn check(path: &Path, application: &str) -> Result<(), Error> {
        match Stamp::read(path)? {
            Some(Stamp { state: State::Restoring, .. }) => Err(Error::Restoring { path: path.to_path_buf() }),
            Some(stamp) => stamp.check(path, application),
            None if !path.exists() => Err(Error::NoDirectory { path: path.to_path_buf() }),
            None => {
                Err(Error::ForeignDirectory { path: path.to_path_buf(), found: "it has no FORMAT file".to_owned() })
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The Command Database's file.
    #[must_use]
    pub fn log(path: &Path) -> PathBuf {
        path.join("log.sqlite3")
    }

    /// The Query Database's file.
    #[must_use]
    pub fn rows(path: &Path) -> PathBuf {
        path.join("rows.sqlite3")
    }

    /// The secret called `name`: made at random at the first call, for this user's eyes only.
    ///
    /// # Errors
    /// When it cannot be read or written, or has another length.
    pub fn secret(&self, name: &str, runtime: &Runtime) -> Result<[u8; 32], Error> {
        let path = self.path.join(format!("{name}.secret"));
        let failed = |attempted| {
            let path = path.clone();
            move |source| Error::DataDirectory { path, attempted, source }
        };
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                let source = io::Error::new(io::ErrorKind::InvalidData, "it does not hold 32 bytes: delete it");
                failed("reading the secret")(source)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                runtime.fill_random(&mut secret);
                let draft = self.path.join(format!("{name}.secret.new"));
                write_durably(&draft, &path, &secret).map_err(failed("writing the secret"))?;
                Ok(secret)
            }
            Err(error) => Err(failed("reading the secret")(error)),
        }
    }
}

/// Writes `path` so that after a crash it is there whole or not at all.
fn write_durably(draft: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A directory without a FORMAT file is ours only while it holds nothing but what a start that was cut off leaves.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::DataDirectory { path: path.to_path_buf(), attempted: "listing it", source });
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name != LOCK_FILE && name != FORMAT_DRAFT {
            let found = format!("it holds {} and no FORMAT file", name.to_string_lossy());
            return Err(Error::ForeignDirectory { path: path.to_path_buf(), found });
        }
    }
    Ok(())
}

/// With its parents as others make them, and itself for this user alone. One that is there is left as it is.
fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
    }
}

fn lock(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::DataDirectory { path: path.to_path_buf(), attempted: "locking it", source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use model::EpochId;

    use super::*;

    fn entries(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_directory_is_made_and_opened_again() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("a/b");
        drop(DataDirectory::open(&path, "shop").expect("made"));
        drop(DataDirectory::open(&path, "shop").expect("opened"));
        assert_eq!(entries(&path), ["FORMAT", "LOCK"]);
    }

    #[test]
    fn what_is_made_is_for_this_user_alone_and_what_is_there_is_left_as_it_is() {
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let root = tempfile::tempdir().expect("a directory");
        let (made, found) = (root.path().join("a/b"), root.path().join("c"));
        fs::DirBuilder::new().mode(0o755).create(&found).expect("made");
        let before = mode(&found);
        drop(DataDirectory::open(&made, "shop").expect("opened"));
        drop(DataDirectory::open(&found, "shop").expect("opened"));
        assert_eq!((mode(&made), mode(&found)), (0o700, before));
        assert_eq!((mode(&made.join("FORMAT")), mode(&made.join("LOCK"))), (0o600, 0o600));
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let _held = DataDirectory::open(root.path(), "shop").expect("opened");
        let refused = DataDirectory::open(root.path(), "shop").expect_err("in use");
        assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_as_it_was() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("thesis.tex"), "years of work").expect("written");
        let refused = DataDirectory::open(root.path(), "shop").expect_err("foreign");
        assert!(matches!(refused, Error::ForeignDirectory { .. }), "{refused}");
        assert_eq!(entries(root.path()), ["thesis.tex"]);
    }

    #[test]
    fn what_a_newer_binary_or_another_application_wrote_is_refused() {
        for (stamp, wanted) in [
            ("format 3\noldest-binary 0.1.0\napplication shop\n", "newer binary"),
            ("format 1\noldest-binary 99.0.0\napplication shop\n", "newer binary"),
            ("format 1\noldest-binary 0.1.0\napplication bank\n", "holds the data of \"bank\""),
            ("\u{0}\u{1}", "FORMAT file does not say"),
        ] {
            let root = tempfile::tempdir().expect("a directory");
            fs::write(root.path().join("FORMAT"), stamp).expect("written");
            let refused = DataDirectory::open(root.path(), "shop").expect_err("refused");
            assert!(refused.to_string().contains(wanted), "{refused}");
            assert_eq!(entries(root.path()), ["FORMAT"]);
        }
    }

    #[test]
    fn a_sealed_directory_says_where_its_log_went_and_can_still_be_read() {
        let root = tempfile::tempdir().expect("a directory");
        drop(DataDirectory::open(root.path(), "shop").expect("made"));
        let (directory, seal) = DataDirectory::open_to_move(root.path(), "shop").expect("opened");
        assert_eq!(seal, None);
        let seal = Seal { to: "postgres://here:5432/log".to_owned(), epoch: EpochId(uuid::Uuid::from_u128(7)) };
        directory.seal("shop", &seal).expect("sealed");
        drop(directory);
        let refused = DataDirectory::open(root.path(), "shop").expect_err("moved").to_string();
        assert!(refused.contains("postgres://here:5432/log"), "{refused}");
        DataDirectory::check(root.path(), "shop").expect("it can be read");
        assert_eq!(DataDirectory::open_to_move(root.path(), "shop").expect("opened").1, Some(seal));
        let stamp = fs::read_to_string(root.path().join("FORMAT")).expect("a stamp");
        assert!(stamp.starts_with("format 2\n"), "what older binaries refuse: {stamp}");
    }

    #[test]
    fn a_directory_is_nobodys_until_what_is_restored_into_it_is_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("data");
        let directory = DataDirectory::open_to_restore(&path, "shop").expect("made");
        fs::write(path.join("log.sqlite3"), "half").expect("written");
        drop(directory);
        assert!(matches!(DataDirectory::open(&path, "shop"), Err(Error::Restoring { .. })));
        assert!(matches!(DataDirectory::check(&path, "shop"), Err(Error::Restoring { .. })));
        let directory = DataDirectory::open_to_restore(&path, "shop").expect("again");
        assert_eq!(entries(&path), ["FORMAT", "LOCK"]);
        directory.restored("shop").expect("whole");
        drop(directory);
        drop(DataDirectory::open(&path, "shop").expect("it is a directory like any other"));
        assert!(matches!(DataDirectory::open_to_restore(&path, "shop"), Err(Error::NotEmpty { .. })));
    }

    #[test]
    fn a_start_that_was_cut_off_is_finished_by_the_next() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("LOCK"), "").expect("written");
        fs::write(root.path().join("FORMAT.new"), "form").expect("written");
        DataDirectory::open(root.path(), "shop").expect("opened");
        assert_eq!(entries(root.path()), ["FORMAT", "LOCK"]);
    }
}
