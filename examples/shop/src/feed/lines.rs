//! Bytes to lines. A line of the feed is a line of the file, so that one stray quote spoils one line and not the rest.

use std::io::{self, BufRead};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::Reason;

/// Longest line that is looked at, without its end; the real feed stays near a hundred bytes.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// Reads the next line into `line`, without its end, and says whether there was one.
///
/// Of a line that is too long only the first `LINE_BYTES_MAX + 1` bytes are kept; the rest is read and forgotten.
pub(super) fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut began = false;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        began = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        // One byte more than the limit, and the carriage return that may follow it, are enough to tell.
        let room = (LINE_BYTES_MAX + 2).saturating_sub(line.len());
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        let consumed = end.map_or(buffer.len(), |end| end + 1);
        input.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(began)
}

/// Splits one line into its fields.
pub(super) fn split(line: &mut Vec<u8>, builder: &ReaderBuilder) -> Result<ByteRecord, Reason> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Reason::LineTooLong);
    }
    // Few lines have a quote, and setting a reader up for one line costs more than all else that is done with it.
    if !line.is_empty() && !line.contains(&b'"') {
        return Ok(line.split(|byte| *byte == b',').collect());
    }
    // A quote that is still open at the end of the line swallows this byte, and so shows itself.
    line.push(b'\n');
    let mut record = ByteRecord::new();
    let found = builder.from_reader(line.as_slice()).read_byte_record(&mut record);
    line.pop();
    match found {
        Ok(true) if record.iter().any(|field| field.contains(&b'\n')) => Err(Reason::QuoteUnclosed),
        Ok(true) => Ok(record),
        Ok(false) | Err(_) => Err(Reason::Columns),
    }
}

/// How the lines of a feed are quoted and separated.
pub(super) fn dialect() -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).terminator(Terminator::Any(b'\n')).buffer_capacity(256);
    builder
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Reason, dialect, next_line, split};

    fn lines(mut file: &[u8]) -> Vec<Vec<u8>> {
        let (mut all, mut line) = (Vec::new(), Vec::new());
        while next_line(&mut file, &mut line).expect("memory can be read") {
            all.push(line.clone());
        }
        all
    }

    fn fields(line: &[u8]) -> Result<Vec<String>, Reason> {
        let record = split(&mut line.to_vec(), &dialect())?;
        Ok(record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect())
    }

    #[test]
    fn every_line_counts_whatever_ends_it() {
        assert_eq!(lines(b"a\r\n\nb"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(lines(b"a\n"), [b"a".to_vec()]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_may_have_as_many_bytes_as_the_limit_and_no_more() {
        for (bytes, end, refused) in
            [(LINE_BYTES_MAX, "\n", false), (LINE_BYTES_MAX, "\r\n", false), (LINE_BYTES_MAX + 1, "\n", true)]
        {
            let file = "x".repeat(bytes) + end + "next\n";
            let mut read = lines(file.as_bytes());
            assert_eq!(read.len(), 2);
            assert_eq!(split(&mut read[0], &dialect()) == Err(Reason::LineTooLong), refused, "{bytes} bytes, {end:?}");
        }
    }

    #[test]
    fn quotes_hold_commas_and_quotes_and_end_on_their_line() {
        assert_eq!(
            fields(b"1,\"RECORD FRAME 7\"\" SIZE, BLUE\",2"),
            Ok(["1", "RECORD FRAME 7\" SIZE, BLUE", "2"].map(str::to_owned).to_vec())
        );
        assert_eq!(fields(b"1,FRAME 7\" SIZE,2"), Ok(["1", "FRAME 7\" SIZE", "2"].map(str::to_owned).to_vec()));
        assert_eq!(fields(b"1,\"FRAME 7,2"), Err(Reason::QuoteUnclosed));
        assert_eq!(fields(b""), Err(Reason::Columns));
        assert_eq!(fields(b",,\"\","), fields(b",,,"));
        assert_eq!(fields(b"1,lone\rreturn,2").map(|fields| fields.len()), Ok(3));
    }
}
