use serde::de::IgnoredAny;

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

#[cfg(test)]
mod tests {
    use super::is_too_deep;

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
