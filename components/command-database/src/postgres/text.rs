//! Texts as PostgreSQL can store them: it knows no zero byte, and one name that has it must not fail a whole batch.

use std::borrow::Cow;

/// Unicode's last character, which nobody may assign: what follows it stands for what cannot be stored.
const ESCAPE: char = '\u{10FFFF}';

/// `text` without zero bytes.
pub(super) fn store(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, ESCAPE]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that was stored.
pub(super) fn restore(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE => text.push(if characters.next() == Some('0') { '\0' } else { ESCAPE }),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_and_none_is_stored_with_a_zero_byte(text in "[\\x00a0\u{10FFFF}é]{0,12}") {
            let stored = store(&text);
            prop_assert!(!stored.contains('\0'));
            let restored = restore(&stored);
            prop_assert_eq!(&*restored, &*text);
        }
    }
}
