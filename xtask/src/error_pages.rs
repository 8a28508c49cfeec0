use std::collections::BTreeSet;

use crate::workspace::File;

/// The boxes that answer over HTTP.
const SOURCES: [&str; 2] = ["components/api-gateway/src/", "components/load-balancer/src/"];
const PAGES: &str = "docs/errors/";

/// Every public error code has a page in `docs/errors`, and every page is that of a code.
///
/// Codes are the kebab-case literals in the two boxes' functions whose names begin with `code`, and in `codes! { … }`.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let sources = files.iter().filter(|file| SOURCES.iter().any(|folder| file.path.starts_with(folder)));
    let codes: BTreeSet<String> = sources.flat_map(|file| codes(&file.text)).collect();
    let pages: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(PAGES)?.strip_suffix(".md"))
        .filter(|name| *name != "README")
        .map(str::to_owned)
        .collect();
    let missing = codes.difference(&pages).map(|code| format!("error code {code} has no page: write {PAGES}{code}.md"));
    let stale = pages
        .difference(&codes)
        .map(|page| format!("{PAGES}{page}.md describes no error code of the gateway or the load balancer: remove it"));
    missing.chain(stale).collect()
}

/// The codes in one source file.
fn codes(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut closing = None;
    for line in source.lines() {
        match &closing {
            None => closing = end_of_codes(line),
            Some(end) if line == end => closing = None,
            Some(_) => found.extend(literals(line).filter(|literal| is_code(literal)).map(str::to_owned)),
        }
    }
    found
}

/// The line that ends a block of codes beginning on `line`, if one does: rustfmt puts it under its beginning.
fn end_of_codes(line: &str) -> Option<String> {
    let code = line.trim_start();
    let indent = &line[..line.len() - code.len()];
    let function =
        code.split_once("fn ").is_some_and(|(before, name)| !before.contains('/') && name.starts_with("code"));
    let begins = code == "codes! {" || function && line.ends_with('{');
    begins.then(|| format!("{indent}}}"))
}

fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

fn is_code(literal: &str) -> bool {
    !literal.is_empty() && literal.chars().all(|each| each.is_ascii_lowercase() || each == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    const SOURCE: &str = r#"
impl Refusal {
    fn code_and_title(self) -> (&'static str, &'static str) {
        match self {
            Self::Loop => ("loop-detected", "The request goes round"),
            Self::Gone => ("unavailable", "Unavailable"),
        }
    }

    fn name() -> &'static str {
        "no-code"
    }
}
"#;

    #[test]
    fn codes_are_the_kebab_case_literals_of_their_table() {
        let table = "const A: &str = \"no-code\";\ncodes! {\n    A: GONE \"not-found\" \"Nothing is here\" false;\n}\n";
        assert_eq!(codes(table), ["not-found"]);
    }

    #[test]
    fn codes_are_the_kebab_case_literals_of_functions_for_codes() {
        assert_eq!(codes(SOURCE), ["loop-detected", "unavailable"]);
    }

    #[test]
    fn a_code_without_a_page_and_a_page_without_a_code_fail() {
        let files = [
            file("components/load-balancer/src/refusal.rs", SOURCE),
            file("docs/errors/unavailable.md", ""),
            file("docs/errors/never-used.md", ""),
            file("docs/errors/README.md", ""),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("loop-detected has no page"), "{found:?}");
        assert!(found[1].contains("never-used.md describes no"), "{found:?}");
    }
}
