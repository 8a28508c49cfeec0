//! Room in the write-ahead log's file before it is needed.
//!
//! A sync after a write into blocks that the file has already is one write of the disk; one that lengthens the file has to
//! write down where the new blocks are as well, and takes about twice as long. So the file is lengthened by zeros, many pages
//! at a time. To SQLite they are what an older, longer write-ahead log left behind: no frame, since no checksum fits.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A page and what precedes it (<https://www.sqlite.org/fileformat2.html>, section 4.1), as pages are of 4096 bytes.
const FRAME_BYTES: u64 = 4096 + 24;
/// More is made when there is room for less than this.
const SPARE_BYTES: u64 = 256 * FRAME_BYTES;
/// How much is made at first: a process that just started has time.
const FIRST_BYTES: usize = 8 << 20;
const NEXT_BYTES: usize = 2 << 20;

pub(super) struct Wal {
    path: PathBuf,
    /// How much is made at a time, at most: as much as it may come to before it starts over.
    more_max: usize,
    /// How long the file is at least; `u64::MAX` once it could not be lengthened, which costs nothing but time.
    end: u64,
}

impl Wal {
    /// Of the log at this path, whose write-ahead log starts over at `pages_max` pages.
    pub(super) fn of(log: &Path, pages_max: u32) -> Self {
        let mut path = log.as_os_str().to_owned();
        path.push("-wal");
        let more_max = usize::try_from(u64::from(pages_max) * FRAME_BYTES).unwrap_or(usize::MAX);
        Self { path: path.into(), more_max, end: 0 }
    }

    /// Called by the writer between two transactions, when the file's end is nobody else's business. `pages` are in it.
    pub(super) fn make_room(&mut self, pages: u32) {
        let wanted = u64::from(pages) * FRAME_BYTES + SPARE_BYTES;
        // Before its first transaction there is no file.
        if pages == 0 || wanted <= self.end {
            return;
        }
        let more = if self.end == 0 { FIRST_BYTES } else { NEXT_BYTES };
        self.end = lengthen(&self.path, wanted, more.min(self.more_max)).unwrap_or(u64::MAX);
    }
}

/// Adds zeros to a file that is shorter than `wanted`. Returns its length then, after which there may be still more to add.
fn lengthen(path: &Path, wanted: u64, more: usize) -> io::Result<u64> {
    // Opened as it is, and to append: never a file that is not SQLite's, never over what is there.
    let mut file = OpenOptions::new().append(true).open(path)?;
    let length = file.metadata()?.len();
    if length >= wanted {
        return Ok(length);
    }
    file.write_all(&vec![0; more])?;
    Ok(length + more as u64)
}
