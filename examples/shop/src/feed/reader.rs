use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use csv::ReaderBuilder;
use flate2::bufread::MultiGzDecoder;

use super::{
    COLUMNS, Error, Reason,
    fields::{self, Sale},
    lines::{dialect, next_line, split},
};

/// How a gzip file begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a text file may begin that says it is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A feed that is being read: every line after the header, in order, the bad ones too.
///
/// After an error there is nothing more.
pub struct Feed {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    dialect: ReaderBuilder,
    line: Vec<u8>,
    line_number: u64,
    failed: bool,
}

/// One line of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its number in the file; the header is line 1.
    pub line: u64,
    /// The invoice that it names, also where it was refused; absent if that cannot be read.
    pub invoice: Option<String>,
    /// What it says, or why that cannot be used. A sale always has an invoice beside it.
    pub sale: Result<Sale, Reason>,
}

impl Feed {
    /// Opens a feed, compressed or not (the first bytes tell, not the name), and reads its header.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Read`], and [`Error::Header`] for a file that is something else.
    pub fn open(path: &Path) -> Result<Feed, Error> {
        let open = |source| Error::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        // Few large reads; the decoder and the line splitter only ever see the buffer.
        Feed::from_reader(path, BufReader::with_capacity(1 << 16, file))
    }

    /// Reads a feed from anywhere; the path only names it in errors.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Header`] for something else than a feed.
    pub fn from_reader(path: &Path, input: impl Read + Send + 'static) -> Result<Feed, Error> {
        let read = |source| Error::Read { path: path.to_owned(), line: 0, source };
        let mut start = Vec::new();
        let mut input = input;
        // A pipe may bring its first bytes one by one.
        (&mut input).take(GZIP_MAGIC.len() as u64).read_to_end(&mut start).map_err(read)?;
        let is_gzip = start == GZIP_MAGIC;
        let whole = BufReader::new(std::io::Cursor::new(start).chain(input));
        let input: Box<dyn BufRead + Send> =
            if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) };
        let mut feed =
            Feed { path: path.to_owned(), input, dialect: dialect(), line: Vec::new(), line_number: 0, failed: false };
        feed.read_header()?;
        Ok(feed)
    }

    fn read_header(&mut self) -> Result<(), Error> {
        self.advance()?;
        if self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        let header = split(&mut self.line, &self.dialect);
        if header.is_ok_and(|header| header == *COLUMNS.as_slice()) {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&self.line).chars().take(120).collect();
        Err(Error::Header { path: self.path.clone(), found })
    }

    /// Goes to the next line and says whether there is one.
    fn advance(&mut self) -> Result<bool, Error> {
        let more = next_line(&mut self.input, &mut self.line).map_err(|source| Error::Read {
            path: self.path.clone(),
            line: self.line_number,
            source,
        })?;
        self.line_number += u64::from(more);
        Ok(more)
    }

    fn reading(&mut self) -> Reading {
        let record = split(&mut self.line, &self.dialect);
        let invoice = record.as_ref().ok().and_then(fields::invoice).map(str::to_owned);
        let sale = record.and_then(|record| fields::sale(&record));
        Reading { line: self.line_number, invoice, sale }
    }
}

impl Iterator for Feed {
    type Item = Result<Reading, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(true) => Some(Ok(self.reading())),
            Ok(false) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::Path};

    use flate2::{Compression, write::GzEncoder};

    use super::{Error, Feed, Reason};

    const HEADER: &str = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n";

    fn read(bytes: Vec<u8>) -> Result<Vec<(u64, Option<Reason>)>, Error> {
        let feed = Feed::from_reader(Path::new("feed.csv"), std::io::Cursor::new(bytes))?;
        feed.map(|reading| reading.map(|reading| (reading.line, reading.sale.err()))).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory can be written");
        encoder.finish().expect("memory can be written")
    }

    fn three_lines() -> String {
        format!("{HEADER}489434,85048,BALL,12,2009-12-01 07:45:00,6.95,13085,United Kingdom\n\n489434,85048\n")
    }

    #[test]
    fn every_line_comes_out_with_its_number_and_the_bad_ones_with_a_reason() {
        let expected = [(2, None), (3, Some(Reason::Columns)), (4, Some(Reason::Columns))];
        assert_eq!(read(three_lines().into_bytes()).expect("a feed"), expected);
    }

    #[test]
    fn a_compressed_feed_reads_like_a_plain_one() {
        let text = three_lines();
        let (first, second) = text.as_bytes().split_at(100);
        let two_members = [gzip(first), gzip(second)].concat();
        let plain = read(text.clone().into_bytes()).expect("a feed");
        assert_eq!(read(gzip(text.as_bytes())).expect("a feed"), plain);
        assert_eq!(read(two_members).expect("a feed"), plain);
    }

    #[test]
    fn a_truncated_gzip_file_is_an_error_and_not_a_short_feed() {
        let mut bytes = gzip(three_lines().as_bytes());
        bytes.truncate(bytes.len() - 4);
        assert!(matches!(read(bytes), Err(Error::Read { .. })));
    }

    #[test]
    fn anything_without_the_header_is_refused() {
        for text in [
            "",
            "\n",
            "Invoice;StockCode\n",
            "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n",
        ] {
            assert!(matches!(read(text.into()), Err(Error::Header { .. })), "{text:?}");
        }
        assert!(read(format!("\u{feff}{}", HEADER.replace('\n', "\r\n")).into()).is_ok());
    }
}
