use crate::workspace::File;

/// A file longer than this is worth a look: it may hold a second idea.
const LINES_HINT: usize = 500;

/// Files in which machine-made lines are no sign of anything.
const NOT_WRITTEN: [&str; 4] = [".lock", ".json", ".ndjson", ".csv"];

/// What no tracked text may contain, and what to do instead. Spelled in halves where this file would find itself.
const FORBIDDEN: [(&str, Where, &str); 7] = [
    (concat!("/tm", "p/"), Where::PathStart, "name no absolute path: take a temporary folder from the system"),
    (concat!("/wor", "k/"), Where::PathStart, "name no absolute path of one machine"),
    (concat!("/hom", "e/"), Where::PathStart, "name no absolute path of one machine"),
    (concat!("../sha", "red"), Where::Anywhere, "only .ci/run may look beside the project"),
    (concat!("tod", "o!("), Where::Rust, "finish it or leave it out"),
    (concat!("db", "g!("), Where::Rust, "remove it"),
    (concat!("#[igno", "re]"), Where::Rust, "say why: `#[ignore = \"reason\"]`"),
];

enum Where {
    Anywhere,
    /// Not behind something that makes it part of a longer path or address.
    PathStart,
    /// In Rust code; examples in comments may leave something out.
    Rust,
}

/// One message for each line with something forbidden in it.
pub(crate) fn forbidden(files: &[File]) -> Vec<String> {
    let written = files.iter().filter(|file| !file.path.ends_with(".lock") && file.path != ".ci/run");
    let lines =
        written.flat_map(|file| file.text.lines().enumerate().map(move |(index, line)| (file, index + 1, line)));
    lines
        .flat_map(|(file, number, line)| {
            let found = FORBIDDEN.iter().filter(move |(word, place, _)| occurs(word, place, line, &file.path));
            found.map(move |(word, _, instead)| format!("{}:{number}: `{word}`: {instead}", file.path))
        })
        .collect()
}

fn occurs(word: &str, place: &Where, line: &str, path: &str) -> bool {
    match place {
        Where::Anywhere => line.contains(word),
        Where::Rust => path.ends_with(".rs") && !line.trim_start().starts_with("//") && line.contains(word),
        Where::PathStart => line.match_indices(word).any(|(index, _)| {
            let before = line[..index].chars().next_back();
            !before.is_some_and(|each| each.is_alphanumeric() || "._-~/}>)".contains(each))
        }),
    }
}

/// Files that may have grown a second idea.
pub(crate) fn long_files(files: &[File]) -> Vec<String> {
    let written = files.iter().filter(|file| !NOT_WRITTEN.iter().any(|end| file.path.ends_with(end)));
    written
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_HINT)
        .map(|(file, lines)| format!("{} has {lines} lines: is there a second idea in it?", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn every_forbidden_word_is_found_with_its_line() {
        for (word, ..) in &FORBIDDEN {
            let found = forbidden(&[file("a/b.rs", &format!("fine\n  {word} \"x\"\n"))]);
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("a/b.rs:2:"), "{found:?}");
        }
    }

    #[test]
    fn a_relative_path_an_ignored_test_with_a_reason_and_the_ci_script_are_fine() {
        let fine = [
            file("a.md", concat!("target/tm", "p/x and https://example.org/hom", "e/x")),
            file("b.rs", "#[ignore = \"needs an hour\"]"),
            file("c.md", concat!("a note on tod", "o!()")),
            file("d.rs", concat!("//! # fn left_out() { tod", "o!() }")),
            file(".ci/run", concat!("ls ../sha", "red")),
        ];
        assert_eq!(forbidden(&fine), [""; 0]);
    }

    #[test]
    fn a_long_file_is_a_hint_unless_nobody_writes_it() {
        let long = "line\n".repeat(LINES_HINT + 1);
        let hints = long_files(&[file("a.rs", &long), file("Cargo.lock", &long), file("b.rs", "line\n")]);
        assert_eq!(hints.len(), 1);
        assert!(hints[0].starts_with("a.rs has 501 lines"));
    }
}
