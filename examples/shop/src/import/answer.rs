//! What an answer means for the invoice that it is about.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::front_door::Answer;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It is in the log now.
    Accepted,
    /// It has been there before.
    AlreadyThere,
    /// Its number is that of an invoice which says something else; the code says of which aggregate.
    Differs(String),
    /// The shop's rules do not allow it; the code says which.
    Refused(String),
    /// Something is wrong with the shop or with this import; the code says what.
    Failed(String),
}

/// What to do after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: the command is done. The text is for people.
    Done(Outcome, String),
    /// Send it again, not before so long.
    Again { reason: String, after: Duration },
}

/// Refusals of an invoice that is there already.
const ALREADY_THERE: [&str; 3] = ["order.already-placed", "credit_note.already-issued", "adjustment.already-recorded"];

/// Refusals of an invoice whose number belongs to another one.
const DIFFERS: [&str; 3] = ["order.placed-otherwise", "credit_note.issued-otherwise", "adjustment.recorded-otherwise"];

/// A problem (RFC 9457), as far as it matters here.
#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    retryable: bool,
}

/// `aggregate` is the one that the command was for.
pub(super) fn judge(answer: &Answer, aggregate: &str) -> Verdict {
    if answer.status.is_success() {
        let outcome = if answer.is_replayed() { Outcome::AlreadyThere } else { Outcome::Accepted };
        return Verdict::Done(outcome, String::new());
    }
    let problem = problem(answer);
    if problem.retryable {
        let after = answer.retry_after().unwrap_or_default();
        return Verdict::Again { reason: problem.code, after };
    }
    let of_the_domain = problem.code.strip_prefix(aggregate).is_some_and(|rest| rest.starts_with('.'));
    let outcome = if ALREADY_THERE.contains(&problem.code.as_str()) {
        Outcome::AlreadyThere
    } else if DIFFERS.contains(&problem.code.as_str()) {
        Outcome::Differs(problem.code)
    } else if of_the_domain || answer.status == StatusCode::PAYLOAD_TOO_LARGE {
        Outcome::Refused(problem.code)
    } else {
        Outcome::Failed(problem.code)
    };
    Verdict::Done(outcome, problem.detail)
}

/// The problem that the answer states, or what its bare status amounts to.
fn problem(answer: &Answer) -> Problem {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| Problem {
        code: format!("status-{}", answer.status.as_u16()),
        detail: "the answer is no problem document: is there a shop at this address?".to_owned(),
        retryable: matches!(
            answer.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
    })
}
