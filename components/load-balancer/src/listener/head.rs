use std::io::BufRead;

use super::Limits;
use crate::refusal::Refusal;

/// Finds the end of a request's head in bytes that arrive in pieces, and refuses what could be read in two ways.
///
/// hyper parses every head that passes, and is stricter about names and values. This looks at lines only: at their ends,
/// where hyper would take a bare LF, and at the headers that say how long the body is, where hyper quietly settles
/// contradictions (RFC 9112 §6.3 allows that; behind another proxy it is how requests are smuggled).
#[derive(Default)]
pub(super) struct Head {
    /// Where the line begins that is being read.
    line_start: usize,
    /// Up to where no line end was found.
    searched: usize,
    /// Complete lines, the request line included, empty lines before it not.
    lines: usize,
    is_http_10: bool,
    hosts: usize,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// How long the body is that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// That many bytes; without a body, none.
    Length(u64),
    /// As long as its chunks say.
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The head goes on.
    Partial,
    /// The head is the first `length` bytes.
    Complete {
        length: usize,
        framing: Framing,
    },
    Refused(Refusal),
}

impl Head {
    /// Goes on reading. `bytes` begin where the head begins, and hold all that was there at the last call.
    pub(super) fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Progress {
        match self.read_lines(bytes, limits) {
            Ok(Some(framing)) => Progress::Complete { length: self.line_start, framing },
            Ok(None) => Progress::Partial,
            Err(refusal) => Progress::Refused(refusal),
        }
    }

    fn read_lines(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Framing>, Refusal> {
        loop {
            let mut rest = &bytes[self.searched..];
            // The standard library's fastest search for one byte; on a slice it cannot fail.
            self.searched += rest.skip_until(b'\n').unwrap_or(0);
            // An unfinished line is searched to the end of the bytes; what follows a complete head does not count.
            if self.searched > limits.head_bytes_max {
                return Err(Refusal::HeadTooLarge("the head is too large: send fewer or shorter headers"));
            }
            let line = &bytes[self.line_start..self.searched];
            if !line.ends_with(b"\n") {
                return Ok(None);
            }
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(Refusal::Malformed("a line of the head does not end with CR LF"));
            };
            self.line_start = self.searched;
            match (self.lines, line.is_empty()) {
                // RFC 9112 §2.2: an empty line before the request line is ignored.
                (0, true) => {}
                (0, false) => self.request_line(line, limits)?,
                (_, true) => return self.framing().map(Some),
                (_, false) => self.header(line, limits)?,
            }
        }
    }

    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        self.lines = 1;
        self.is_http_10 = line.ends_with(b" HTTP/1.0");
        // Only a line longer than that can hold a target longer than that.
        if line.len() > limits.target_bytes_max {
            let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or(line);
            if target.len() > limits.target_bytes_max {
                return Err(Refusal::HeadTooLarge("the request target is too long"));
            }
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if self.lines > limits.headers_max {
            return Err(Refusal::HeadTooLarge("the head has too many headers: send fewer"));
        }
        self.lines += 1;
        match line[0] {
            b'c' | b'C' => value_of(b"content-length", line).map_or(Ok(()), |value| self.content_length(value)),
            b't' | b'T' => value_of(b"transfer-encoding", line).map_or(Ok(()), |value| self.transfer_encoding(value)),
            b'h' | b'H' => {
                self.hosts += usize::from(value_of(b"host", line).is_some());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else {
            return Err(Refusal::Malformed("Content-Length is not a number"));
        };
        if self.content_length.replace(length).is_some() {
            return Err(Refusal::Malformed("there is more than one Content-Length"));
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.is_http_10 {
            return Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Malformed("Transfer-Encoding is not just `chunked`"));
        }
        self.is_chunked = true;
        Ok(())
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        let host_is_clear = self.hosts == 1 || (self.hosts == 0 && self.is_http_10);
        match (host_is_clear, self.is_chunked, self.content_length) {
            (false, ..) => Err(Refusal::Malformed("there is not exactly one Host")),
            (_, true, Some(_)) => Err(Refusal::Malformed("there are both Content-Length and Transfer-Encoding")),
            (_, true, None) => Ok(Framing::Chunked),
            (_, false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// The value in `line` if it is a header called `name`, without the white space around it.
fn value_of<'a>(name: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Progress {
        Head::default().advance(head.as_bytes(), &Limits::default())
    }

    fn framing(headers: &str) -> Option<Framing> {
        match read(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")) {
            Progress::Complete { framing, .. } => Some(framing),
            _ => None,
        }
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut_into_pieces() {
        let text = "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let complete = Progress::Complete { length: text.len() - 3, framing: Framing::Length(3) };
        for cut in 0..text.len() - 3 {
            let mut head = Head::default();
            assert_eq!(head.advance(&text.as_bytes()[..cut], &Limits::default()), Progress::Partial, "cut at {cut}");
            assert_eq!(head.advance(text.as_bytes(), &Limits::default()), complete, "cut at {cut}");
        }
    }

    #[test]
    fn the_length_of_a_body_has_one_reading_or_none() {
        for (headers, expected) in [
            ("", Some(Framing::Length(0))),
            ("content-length:  7 \r\n", Some(Framing::Length(7))),
            ("Transfer-Encoding: Chunked\r\n", Some(Framing::Chunked)),
            ("Content-Length: 7\r\nContent-Length: 7\r\n", None),
            ("Content-Length: 7\r\nContent-Length: 8\r\n", None),
            ("Content-Length: 7, 7\r\n", None),
            ("Content-Length: +7\r\n", None),
            ("Content-Length: 0x7\r\n", None),
            ("Content-Length:\r\n", None),
            ("Content-Length: 99999999999999999999\r\n", None),
            ("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", None),
            ("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", None),
            ("Transfer-Encoding: gzip, chunked\r\n", None),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", None),
        ] {
            assert_eq!(framing(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_head_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let limits = Limits { head_bytes_max: 64, ..Limits::default() };
        let head_of = |length: usize| {
            let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(length - fixed))
        };
        let fits = Head::default().advance(head_of(64).as_bytes(), &limits);
        assert!(matches!(fits, Progress::Complete { length: 64, .. }), "{fits:?}");
        // What follows the head does not count.
        let followed = Head::default().advance((head_of(64) + &"y".repeat(500)).as_bytes(), &limits);
        assert!(matches!(followed, Progress::Complete { length: 64, .. }), "{followed:?}");
        let exceeds = Head::default().advance(head_of(65).as_bytes(), &limits);
        assert!(matches!(exceeds, Progress::Refused(Refusal::HeadTooLarge(_))), "{exceeds:?}");
        let endless = Head::default().advance("x".repeat(65).as_bytes(), &limits);
        assert!(matches!(endless, Progress::Refused(Refusal::HeadTooLarge(_))), "{endless:?}");
    }

    #[test]
    fn one_host_is_demanded_of_http_1_1_only() {
        for (head, passes) in [
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", false),
        ] {
            assert_eq!(matches!(read(head), Progress::Complete { .. }), passes, "{head:?}");
        }
    }
}
