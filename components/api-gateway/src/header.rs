use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Text on the stack, for header values that are put together.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The header value that `content` prints, if that fits into `N` bytes and is one.
pub(crate) fn value<const N: usize>(content: fmt::Arguments<'_>) -> Option<HeaderValue> {
    let mut text = Text::<N> { bytes: [0; N], length: 0 };
    text.write_fmt(content).ok()?;
    HeaderValue::from_bytes(&text.bytes[..text.length]).ok()
}

/// Inserts what `content` prints. A value that cannot be a header is left out: all that come here are ours.
pub(crate) fn insert<const N: usize>(headers: &mut HeaderMap, name: HeaderName, content: fmt::Arguments<'_>) {
    if let Some(value) = value::<N>(content) {
        headers.insert(name, value);
    }
}

/// The elements of a comma-separated header (RFC 9110 §5.6.1), over all its lines; commas in quotes do not separate.
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // What is no text cannot be anything we know; it becomes an element that nothing matches.
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    lines.flat_map(|line| split(line, ',')).filter(|element| !element.is_empty())
}

/// `text` split at `separator` outside of quotes, each part trimmed.
pub(crate) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |character| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => escaped = true,
            _ => {}
        }
        character == separator && !quoted
    })
    .map(|part| part.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn commas_in_quotes_do_not_separate() {
        let parts: Vec<_> = split(r#""a,b" , W/"c\",d",, e"#, ',').collect();
        assert_eq!(parts, [r#""a,b""#, r#"W/"c\",d""#, "", "e"]);
    }
}
