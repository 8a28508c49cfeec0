//! JSON text: what is looked at of a body before it is decoded, and the pieces of the answer that is given most, which are
//! put together by hand: by way of `serde` and `fmt` they took a twentieth of a command's instructions more.

use serde::de::IgnoredAny;
use uuid::Uuid;

/// Deepest nesting of a command's fields.
pub(crate) const DEPTH_MAX: usize = 64;

/// Whether `text` nests deeper than [`DEPTH_MAX`]. What is not JSON may get either answer.
pub(crate) fn is_too_deep(text: &[u8]) -> bool {
    // Almost no body has as many brackets as that: counting them goes many bytes at a time.
    let brackets = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    brackets > DEPTH_MAX && depth_exceeds(text)
}

fn depth_exceeds(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// Why `text` is no JSON text, if it is none. Slow: for a body that was refused already.
pub(crate) fn syntax_error(text: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(text).err().map(|error| error.to_string())
}

/// A string of these parts.
pub(crate) fn string(text: &mut Vec<u8>, parts: &[&str]) {
    text.push(b'"');
    for part in parts {
        // All of them are looked at, so that it goes many at a time.
        let is_special = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
        if !part.bytes().fold(false, |found, byte| found | is_special(byte)) {
            text.extend_from_slice(part.as_bytes());
        } else if let Ok(quoted) = serde_json::to_string(part) {
            text.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
    }
    text.push(b'"');
}

/// The usual spelling, as a string.
pub(crate) fn uuid(text: &mut Vec<u8>, uuid: Uuid) {
    quoted(text, uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
}

/// 32 hexadecimal digits, as a string.
pub(crate) fn hex(text: &mut Vec<u8>, number: u128) {
    quoted(text, Uuid::from_u128(number).simple().encode_lower(&mut Uuid::encode_buffer()));
}

/// A string in which nothing has to be escaped.
fn quoted(text: &mut Vec<u8>, content: &str) {
    text.push(b'"');
    text.extend_from_slice(content.as_bytes());
    text.push(b'"');
}

/// A number, or null.
pub(crate) fn number(text: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => text.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_is_what_serde_writes() {
        for value in ["", "o-1", "a\"b\\c/d", "line\nend\u{7}", "Größe \u{1f980} \u{7f}"] {
            let mut text = Vec::new();
            string(&mut text, &[value, "/", value]);
            assert_eq!(
                String::from_utf8(text).ok(),
                serde_json::to_string(&format!("{value}/{value}")).ok(),
                "{value:?}"
            );
        }
        for value in [Some(0), Some(9), Some(10), Some(u64::MAX), None] {
            let mut text = Vec::new();
            number(&mut text, value);
            assert_eq!(String::from_utf8(text).ok(), serde_json::to_string(&value).ok());
        }
        let mut text = Vec::new();
        hex(&mut text, 0xab);
        assert_eq!(text, format!("\"{:032x}\"", 0xab).into_bytes());
    }

    #[test]
    fn only_nesting_counts_as_depth() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, too_deep) in [
            (nested(64), false),
            (nested(65), true),
            (format!("[{}]", vec!["[]"; 100].join(",")), false),
            (format!("[\"{}\"]", "[".repeat(100)), false),
            (format!("[\"\\\"{}\"]", "[".repeat(100)), false),
            (format!("[\"\\\\\",{}", "[".repeat(100)), true),
        ] {
            assert_eq!(is_too_deep(text.as_bytes()), too_deep, "{text}");
        }
    }
}
