use std::collections::BTreeSet;

/// What `ARCHITECTURE.md` says in a form that a program can read: table rows that name a box's folder, and one fenced
/// block called `arrows` with a line such as `load-balancer -> api-gateway` for each arrow.
#[derive(Debug, Default)]
pub(crate) struct Architecture {
    pub(crate) boxes: BTreeSet<String>,
    pub(crate) arrows: BTreeSet<Arrow>,
    pub(crate) problems: Vec<String>,
}

/// A box, and one that it depends on.
pub(crate) type Arrow = (String, String);

impl Architecture {
    pub(crate) const PATH: &str = "ARCHITECTURE.md";

    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut in_arrows = false;
        for line in text.lines() {
            match line {
                "```arrows" => in_arrows = true,
                _ if line.starts_with("```") => in_arrows = false,
                _ if in_arrows => found.arrow(line),
                _ if line.starts_with('|') => found.boxes.extend(folder(line)),
                _ => {}
            }
        }
        found
    }

    fn arrow(&mut self, line: &str) {
        match line.split_once("->") {
            Some((from, to)) => drop(self.arrows.insert((from.trim().to_owned(), to.trim().to_owned()))),
            None => self.problems.push(format!("{}: {line:?} is no arrow: write `one-box -> another-box`", Self::PATH)),
        }
    }
}

/// The box whose folder a table row names.
fn folder(row: &str) -> Option<String> {
    let (_, rest) = row.split_once("`components/")?;
    let (name, _) = rest.split_once('`')?;
    Some(name.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_from_table_rows_and_arrows_from_their_block() {
        let text = "# A\n| A | `components/a` | it |\n| B | `components/b/` | too |\n`components/c`\n```arrows\na -> b\n```\nb -> a\n";
        let found = Architecture::parse(text);
        assert_eq!(found.boxes, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(found.arrows, BTreeSet::from([("a".to_owned(), "b".to_owned())]));
        assert!(found.problems.is_empty());
    }

    #[test]
    fn a_line_among_the_arrows_that_is_none_is_a_problem() {
        assert_eq!(Architecture::parse("```arrows\na to b\n```").problems.len(), 1);
    }
}
