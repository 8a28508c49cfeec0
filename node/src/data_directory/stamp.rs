//! The FORMAT file: whose data a directory has, which binaries may use it, and whether anything may start on it.

use std::{fs, io, path::Path};

use model::EpochId;

use super::write_durably;
use crate::Error;

/// Of the files in the directory. Raised when an older binary would misread them.
const FORMAT: u32 = 1;
/// Of a directory that nothing may start on: an older binary, which does not know why, refuses it too.
const FORMAT_CLOSED: u32 = 2;
/// The oldest binary that may use what this one writes.
const OLDEST_BINARY: &str = "0.1.0";
const THIS_BINARY: &str = env!("CARGO_PKG_VERSION");

const FORMAT_FILE: &str = "FORMAT";
pub(super) const FORMAT_DRAFT: &str = "FORMAT.new";

/// Where a log has gone, and as which life it goes on there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The database, as errors call it.
    pub(crate) to: String,
    /// Its first epoch there.
    pub(crate) epoch: EpochId,
}

/// What may be done with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Usable,
    /// Its log is another's now; this one is kept, and may be read.
    Moved(Seal),
    /// A log is being restored into it, and is not whole.
    Restoring,
}

/// What the FORMAT file says: lines of a word and a value.
pub(super) struct Stamp {
    format: u32,
    oldest_binary: String,
    application: String,
    pub(super) state: State,
}

impl Stamp {
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
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
        let state = || match (value("moved-to "), value("restoring ")) {
            (Some(to), _) => {
                let epoch = EpochId(value("epoch ")?.parse().ok()?);
                Some(State::Moved(Seal { to, epoch }))
            }
            (None, Some(_)) => Some(State::Restoring),
            (None, None) => Some(State::Usable),
        };
        let stamp = || {
            Some(Self {
                format: value("format ")?.parse().ok()?,
                oldest_binary: value("oldest-binary ")?,
                application: value("application ")?,
                state: state()?,
            })
        };
        let unreadable = || Error::ForeignDirectory {
            path: path.to_path_buf(),
            found: "its FORMAT file does not say format, oldest-binary and application".to_owned(),
        };
        stamp().map(Some).ok_or_else(unreadable)
    }

    pub(super) fn check(&self, path: &Path, application: &str) -> Result<(), Error> {
        if self.format > FORMAT_CLOSED || version(&self.oldest_binary) > version(THIS_BINARY) {
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

    pub(super) fn check_usable(&self, path: &Path) -> Result<(), Error> {
        let path = path.to_path_buf();
        match &self.state {
            State::Usable => Ok(()),
            State::Moved(seal) => Err(Error::Moved { path, to: seal.to.clone(), epoch: seal.epoch }),
            State::Restoring => Err(Error::Restoring { path }),
        }
    }

    pub(super) fn write(path: &Path, application: &str, state: &State) -> io::Result<()> {
        let (format, more) = match state {
            State::Usable => (FORMAT, String::new()),
            State::Moved(Seal { to, epoch }) => (FORMAT_CLOSED, format!("moved-to {to}\nepoch {epoch}\n")),
            State::Restoring => (FORMAT_CLOSED, "restoring yes\n".to_owned()),
        };
        let text = format!("format {format}\noldest-binary {OLDEST_BINARY}\napplication {application}\n{more}");
        write_durably(&path.join(FORMAT_DRAFT), &path.join(FORMAT_FILE), text.as_bytes())
    }
}

/// A version that cannot be read is newer than any.
fn version(text: &str) -> [u64; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(u64::MAX));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}
