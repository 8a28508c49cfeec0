//! A log in a file: lines of JSON, compressed, of which the last says what the others have to come to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use model::{Hash, Lineage};

use super::{
    Contents, Copied, CopiedEvent, CopiedRecord, CopySource, CopyTarget, Nowhere, Pace, Progress, SLICE, SLICE_RECORDS,
    Step, copy,
    line::{Event, FORMAT, Header, Line, Record, Trailer},
};
use crate::Error;

/// A line longer than this is none of ours: an event's payload is bounded by what an append may hold.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Bytes read from or written to a file at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A backup that is written. Until [`Backup::end`] it has a name that nobody takes for one.
pub struct Backup {
    path: PathBuf,
    draft: PathBuf,
    application: String,
    file: GzEncoder<BufWriter<File>>,
    trailer: Trailer,
    lines: Hash,
    text: Vec<u8>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Backup").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Backup {
    /// Begins the backup that is to be at `path`, where nothing is yet, for its user alone. What a former one that was
    /// interrupted has left beside it is replaced.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path, application: &str) -> Result<Self, Error> {
        let failed = |source| file_error(path, source);
        if path.try_exists().map_err(failed)? {
            return Err(failed(ErrorKind::AlreadyExists.into()));
        }
        let draft = PathBuf::from(format!("{}.partial", path.display()));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            draft,
            application: application.to_owned(),
            file: GzEncoder::new(BufWriter::with_capacity(BUFFER_BYTES, file), Compression::fast()),
            trailer: Trailer { records: 0, events: 0, lines: String::new() },
            lines: Hash::default(),
            text: Vec::new(),
        })
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        self.text.clear();
        let written = serde_json::to_writer(&mut self.text, line).map_err(io::Error::from);
        self.lines = chained(&self.lines, &self.text);
        self.text.push(b'\n');
        written.and_then(|()| self.file.write_all(&self.text)).map_err(|source| file_error(&self.draft, source))
    }

    /// Puts the last line and the file's name to it, both durable, after all of it was read back and found whole.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Backup`]: there is no backup then, nor where it was told to stop.
    pub fn end(mut self, tell: &mut dyn FnMut(Step) -> Pace) -> Result<Copied, Error> {
        let Trailer { records, events, .. } = self.trailer;
        self.line(&Line::End(Trailer { records, events, lines: self.lines.to_string() }))?;
        let Self { path, draft, application, file, .. } = self;
        let failed = |source| file_error(&draft, source);
        let buffer = file.finish().map_err(failed)?;
        let file = buffer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        if BackupReader::check(&draft, &application, tell)?.is_none() {
            return Ok(Copied::Stopped);
        }
        name_it(&draft, &path).map_err(|source| file_error(&path, source))?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| file_error(&path, source))?;
        Ok(Copied::Whole)
    }
}

/// Gives the draft its name, but not over a file that has come there meanwhile, where the file system can tell.
fn name_it(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => fs::remove_file(draft),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) => fs::rename(draft, path),
    }
}

/// The hash of the lines up to this one.
fn chained(before: &Hash, line: &[u8]) -> Hash {
    let mut bytes = Vec::with_capacity(before.0.len() + line.len());
    bytes.extend_from_slice(&before.0);
    bytes.extend_from_slice(line);
    Hash::of(&bytes)
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File { log: path.display().to_string(), source }
}

impl CopyTarget for Backup {
    fn begin(&mut self, contents: &Contents) -> Result<Progress, Error> {
        let header = Header::of(contents, &self.application);
        self.line(&Line::Backup(header))?;
        Ok(Progress::default())
    }

    fn records(&mut self, records: &[CopiedRecord]) -> Result<(), Error> {
        for record in records {
            self.line(&Line::Record(Record::of(record)))?;
        }
        self.trailer.records += records.len() as u64;
        Ok(())
    }

    fn events(&mut self, events: &[CopiedEvent]) -> Result<(), Error> {
        for event in events {
            self.line(&Line::Event(Box::new(Event::of(event))))?;
        }
        self.trailer.events += events.len() as u64;
        Ok(())
    }
}

/// A backup that is read. Nothing of it is to be relied on before its last line was met, which [`CopySource::events`] does
/// before it says that there are no more.
pub struct BackupReader {
    path: PathBuf,
    file: BufReader<GzDecoder<BufReader<File>>>,
    contents: Contents,
    lineage: Lineage,
    lines: Hash,
    seen: Trailer,
    skipped: Progress,
    text: Vec<u8>,
    /// A line that was read and is somebody else's.
    ahead: Option<Item>,
}

impl std::fmt::Debug for BackupReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BackupReader").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a line has.
enum Item {
    Record(Box<CopiedRecord>),
    Event(Box<CopiedEvent>),
    End,
}

impl BackupReader {
    /// Opens a backup of `application`'s log.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Backup`].
    pub fn open(path: &Path, application: &str) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        let file = GzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file));
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            contents: Contents {
                epochs: Vec::new(),
                head: None,
                hash: Hash::default(),
                clock: std::time::Duration::ZERO,
                relayed: None,
            },
            lineage: Lineage::default(),
            lines: Hash::default(),
            seen: Trailer { records: 0, events: 0, lines: String::new() },
            skipped: Progress::default(),
            text: Vec::new(),
            ahead: None,
        };
        reader.contents = reader.header(application)?;
        reader.lineage = reader.contents.lineage();
        Ok(reader)
    }

    /// Reads a backup to its end and refuses one that is not whole. Returns what it is a copy of; `None` when it was told to
    /// stop before its end.
    ///
    /// # Errors
    /// [`Error::Backup`] says what is wrong with it.
    pub fn check(
        path: &Path,
        application: &str,
        tell: &mut dyn FnMut(Step) -> Pace,
    ) -> Result<Option<Contents>, Error> {
        let mut reader = Self::open(path, application)?;
        let damaged = |error: Error| match error {
            Error::Corrupt { position, found, .. } => {
                Error::Backup { path: path.to_owned(), found: format!("at position {position}: {found}") }
            }
            other => other,
        };
        let copied = copy(&mut reader, &mut Nowhere, tell).map_err(damaged)?;
        Ok((copied == Copied::Whole).then_some(reader.contents))
    }

    fn damaged(&self, found: impl Into<String>) -> Error {
        Error::Backup { path: self.path.clone(), found: found.into() }
    }

    fn header(&mut self, application: &str) -> Result<Contents, Error> {
        self.read_line()?;
        let Ok(Line::Backup(header)) = serde_json::from_slice(&self.text) else {
            return Err(self.damaged("it does not begin as a backup does, or is of a newer format"));
        };
        if header.format != FORMAT {
            let found =
                format!("it is of format {}, this binary reads {FORMAT}: restore with a newer one", header.format);
            return Err(self.damaged(found));
        }
        if header.application != application {
            return Err(self.damaged(format!("it is of {:?}, this is {application:?}", header.application)));
        }
        self.lines = chained(&self.lines, &self.text);
        header.contents().ok_or_else(|| self.damaged("its first line cannot be understood"))
    }

    /// Reads a line without its end into `text`.
    fn read_line(&mut self) -> Result<(), Error> {
        self.text.clear();
        let mut limited = io::Read::take(&mut self.file, LINE_BYTES_MAX);
        match limited.read_until(b'\n', &mut self.text) {
            Ok(_) if self.text.pop() == Some(b'\n') => Ok(()),
            Ok(_) => Err(self.damaged("it is cut off")),
            // What the decompression finds, and what a disk does: either way this is no backup that can be used.
            Err(error) => Err(self.damaged(format!("it cannot be read on: {error}"))),
        }
    }

    fn next(&mut self) -> Result<Item, Error> {
        if let Some(item) = self.ahead.take() {
            return Ok(item);
        }
        self.read_line()?;
        let line = serde_json::from_slice(&self.text);
        let not_understood = || {
            let line = self.seen.records + self.seen.events + 2;
            self.damaged(format!("its line {line} cannot be understood"))
        };
        let item = match line.map_err(|_| not_understood())? {
            Line::Backup(_) => return Err(not_understood()),
            Line::Record(record) => Item::Record(Box::new(record.copied().ok_or_else(not_understood)?)),
            Line::Event(event) => Item::Event(Box::new(event.copied(&self.lineage).ok_or_else(not_understood)?)),
            Line::End(trailer) => {
                self.seen.lines = self.lines.to_string();
                if trailer != self.seen {
                    return Err(self.damaged("its lines are not those that were written"));
                }
                self.end()?;
                return Ok(Item::End);
            }
        };
        self.lines = chained(&self.lines, &self.text);
        match &item {
            Item::Record(_) => self.seen.records += 1,
            Item::Event(_) | Item::End => self.seen.events += 1,
        }
        Ok(item)
    }

    /// Behind the last line there is nothing.
    fn end(&mut self) -> Result<(), Error> {
        let is_over = self.file.fill_buf().map(<[u8]>::is_empty);
        // What follows in the file is not looked at by the decompression.
        let is_over = is_over.and_then(|is_over| Ok(is_over && self.file.get_mut().get_mut().fill_buf()?.is_empty()));
        match is_over {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.damaged("something follows on its last line")),
            Err(error) => Err(self.damaged(format!("it cannot be read to its end: {error}"))),
        }
    }
}

impl CopySource for BackupReader {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn skip(&mut self, progress: &Progress) {
        self.skipped = *progress;
    }

    fn records(&mut self) -> Result<Vec<CopiedRecord>, Error> {
        let mut records = Vec::new();
        while records.len() < SLICE_RECORDS as usize {
            match self.next()? {
                Item::Record(record) if Some(record.key) <= self.skipped.key => {}
                Item::Record(record) => records.push(*record),
                other => {
                    self.ahead = Some(other);
                    break;
                }
            }
        }
        Ok(records)
    }

    fn events(&mut self) -> Result<Vec<CopiedEvent>, Error> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < SLICE.events_max && bytes < SLICE.bytes_max {
            match self.next()? {
                Item::Event(event) if Some(event.event.position) <= self.skipped.position => {}
                Item::Event(event) => {
                    bytes += event.event.payload.len();
                    events.push(*event);
                }
                Item::Record(_) => return Err(self.damaged("a record stands behind an event")),
                Item::End => {
                    self.ahead = Some(Item::End);
                    break;
                }
            }
        }
        Ok(events)
    }
}
