//! The directory of an embedded system: who may use it is decided before SQLite opens anything in it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use runtime::Runtime;

use crate::Error;

/// Of the files in the directory. Raised when an older binary would misread them.
const FORMAT: u32 = 1;
/// The oldest binary that may use what this one writes.
const OLDEST_BINARY: &str = "0.1.0";
const THIS_BINARY: &str = env!("CARGO_PKG_VERSION");

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_DRAFT: &str = "FORMAT.new";
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
        match Stamp::read(path)? {
            Some(stamp) => stamp.check(path, application)?,
            None => refuse_foreign(path)?,
        }
        create(path).map_err(failed("creating it"))?;
        let lock = lock(path)?;
        // Another process may have been first between the look and the lock.
        match Stamp::read(path)? {
            Some(stamp) => stamp.check(path, application)?,
            None => Stamp::write(path, application).map_err(failed("writing FORMAT"))?,
        }
        let path = std::path::absolute(path).map_err(failed("finding it"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Checks that `application` may read the directory, without locking it: for readers beside a running system.
    ///
    /// # Errors
    /// As [`DataDirectory::open`], and where there is no such directory.
    pub fn check(path: &Path, application: &str) -> Result<(), Error> {
        match Stamp::read(path)? {
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

/// What the FORMAT file says: three lines of a word and a value.
struct Stamp {
    format: u32,
    oldest_binary: String,
    application: String,
}

impl Stamp {
    fn read(path: &Path) -> Result<Option<Self>, Error> {
        let file = path.join(FORMAT_FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(Error::DataDirectory { path: file, attempted: "reading FORMAT", source }),
        };
        let value =
            |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned());
        let stamp = || {
            Some(Self {
                format: value("format ")?.parse().ok()?,
                oldest_binary: value("oldest-binary ")?,
                application: value("application ")?,
            })
        };
        let unreadable = || Error::ForeignDirectory {
            path: path.to_path_buf(),
            found: "its FORMAT file does not say format, oldest-binary and application".to_owned(),
        };
        stamp().map(Some).ok_or_else(unreadable)
    }

    fn check(&self, path: &Path, application: &str) -> Result<(), Error> {
        if self.format > FORMAT || version(&self.oldest_binary) > version(THIS_BINARY) {
            return Err(Error::NeedsNewerBinary {
                path: path.to_path_buf(),
                format: self.format,
                oldest_binary: self.oldest_binary.clone(),
                binary: THIS_BINARY,
            });
        }
        if self.application != application {
            return Err(Error::OtherApplication {
                path: path.to_path_buf(),
                found: self.application.clone(),
                application: application.to_owned(),
            });
        }
        Ok(())
    }

    fn write(path: &Path, application: &str) -> io::Result<()> {
        let text = format!("format {FORMAT}\noldest-binary {OLDEST_BINARY}\napplication {application}\n");
        write_durably(&path.join(FORMAT_DRAFT), &path.join(FORMAT_FILE), text.as_bytes())
    }
}

/// A version that cannot be read is newer than any.
fn version(text: &str) -> [u64; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(u64::MAX));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
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
            ("format 2\noldest-binary 0.1.0\napplication shop\n", "newer binary"),
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
    fn a_start_that_was_cut_off_is_finished_by_the_next() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("LOCK"), "").expect("written");
        fs::write(root.path().join("FORMAT.new"), "form").expect("written");
        DataDirectory::open(root.path(), "shop").expect("opened");
        assert_eq!(entries(root.path()), ["FORMAT", "LOCK"]);
    }
}
