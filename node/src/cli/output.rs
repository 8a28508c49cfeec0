//! How a verb prints what it found: data on stdout in the form that was asked for, and whether talk has colours.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, ValueEnum, value_parser};
use serde::Serialize;

use super::FAILED;

const NAME: &str = "output";

/// `-o`: the forms that every verb knows which prints data. For the verbs of an application too.
///
/// ```
/// # use node::Output;
/// let verb = clap::Command::new("count").arg(Output::argument());
/// let arguments = verb.get_matches_from(["count", "-o", "ndjson"]);
/// assert_eq!(Output::of(&arguments).one(&7), "7\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON value, in lines that can be read.
    Json,
    /// One JSON value a line.
    Ndjson,
}

impl Output {
    /// `-o`, with the table as its default.
    #[must_use]
    pub fn argument() -> Arg {
        Arg::new(NAME)
            .short('o')
            .long(NAME)
            .value_name("FORM")
            .value_parser(value_parser!(Self))
            .default_value("table")
            .help("How results are printed")
    }

    /// What `-o` was set to.
    #[must_use]
    pub fn of(arguments: &ArgMatches) -> Self {
        arguments.get_one(NAME).copied().unwrap_or(Self::Table)
    }

    /// The text of one result, with its line ending.
    #[must_use]
    pub fn one<T: Display + Serialize>(self, result: &T) -> String {
        match self {
            Self::Table => format!("{}\n", result.to_string().trim_end()),
            Self::Json => pretty(result),
            Self::Ndjson => line(result),
        }
    }

    /// The text of any number of results of one kind; `table` is how people see them.
    pub(crate) fn many<T: Serialize>(self, results: &[T], table: impl FnOnce() -> String) -> String {
        match self {
            Self::Table => table(),
            Self::Json => pretty(&results),
            Self::Ndjson => results.iter().map(line).collect(),
        }
    }
}

fn pretty<T: Serialize>(value: &T) -> String {
    // What is printed here has neither maps with odd keys nor anything else that JSON cannot hold.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// Writes `text` to stdout. `Ok(false)` when nobody reads it any more, as `head` does once it has enough.
pub(crate) fn print(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes `text` to stdout as the last thing that the process does, which then exits with `code`.
pub(crate) fn print_last(text: &str, code: ExitCode) -> ExitCode {
    match print(text) {
        Ok(_) => code,
        Err(error) => cannot_print(&error),
    }
}

pub(crate) fn cannot_print(error: &io::Error) -> ExitCode {
    eprintln!("error: cannot write to stdout: {error}");
    ExitCode::from(FAILED)
}

/// Whether text for people may have colours: `NO_COLOR` (no-color.org), then `CLICOLOR_FORCE`, then `TERM`, decide.
pub(crate) fn is_coloured(to_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    let is_forced = is_set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE").as_deref() != Some("0");
    is_forced || (to_terminal && !is_dumb(variable))
}

/// Whether the terminal says of itself that it can do nothing but show lines.
pub(crate) fn is_dumb(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("TERM").as_deref() == Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_the_environment_says_otherwise() {
        for (to_terminal, variables, coloured) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &[("TERM", "xterm")], true),
            (true, &[("TERM", "dumb")], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (false, &[("CLICOLOR_FORCE", "")], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(is_coloured(to_terminal, variable), coloured, "terminal {to_terminal}, {variables:?}");
        }
    }
}
