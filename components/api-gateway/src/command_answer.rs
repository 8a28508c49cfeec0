use std::{borrow::Cow, fmt};

use axum::body::Body;
use command_service::{AcceptedEvent, CommandOutcome, Precondition, UnavailableReason};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use model::{EventType, FieldError, StreamVersion};
use serde_json::Value;

use crate::{
    consistency::CONSISTENCY_TOKEN,
    header::insert,
    json,
    problem::{self, Problem},
};

static IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The stream that a command went to.
pub(crate) struct Stream<'a> {
    pub(crate) aggregate: Cow<'a, str>,
    pub(crate) id: Cow<'a, str>,
}

impl fmt::Display for Stream<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.aggregate, self.id)
    }
}

/// The response to an accepted command. A replay differs from it by one header.
pub(crate) fn accepted(stream: &Stream<'_>, outcome: CommandOutcome) -> Result<Response<Body>, Problem> {
    let CommandOutcome::Accepted { command_id, version, created, events, token, trace_id, replayed } = outcome else {
        return Err(internal());
    };
    let mut text = Vec::with_capacity(256 + 160 * events.len());
    text.extend_from_slice(b"{\"command_id\":");
    json::uuid(&mut text, command_id.0);
    text.extend_from_slice(b",\"stream\":");
    json::string(&mut text, &[&stream.aggregate, "/", &stream.id]);
    text.extend_from_slice(b",\"version\":");
    json::number(&mut text, version.map(StreamVersion::get));
    if let Some(trace_id) = trace_id {
        text.extend_from_slice(b",\"trace_id\":");
        json::hex(&mut text, trace_id);
    }
    text.extend_from_slice(b",\"events\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write_event(&mut text, event);
    }
    text.extend_from_slice(b"]}");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = if created { StatusCode::CREATED } else { StatusCode::OK };
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    write_version(headers, version);
    if let Some(token) = token {
        insert::<64>(headers, CONSISTENCY_TOKEN.clone(), format_args!("{token}"));
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED.clone(), HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn write_event(text: &mut Vec<u8>, event: &AcceptedEvent) {
    let EventType { name, version } = &event.event_type;
    text.extend_from_slice(b"{\"id\":");
    json::uuid(text, event.id.0);
    text.extend_from_slice(b",\"type\":");
    json::string(text, &[name, ".v", itoa::Buffer::new().format(*version)]);
    text.extend_from_slice(b",\"version\":");
    json::number(text, Some(event.version.get()));
    text.extend_from_slice(b",\"position\":");
    json::number(text, Some(event.position.get()));
    text.push(b'}');
}

/// `ETag` of a stream: its version, strong.
fn write_version(headers: &mut HeaderMap, version: Option<StreamVersion>) {
    if let Some(version) = version {
        insert::<32>(headers, header::ETAG, format_args!("\"{version}\""));
    }
}

/// The problem that any other outcome is. `fields` is the body as sent.
pub(crate) fn refused(stream: &Stream<'_>, demanded: Precondition, fields: &[u8], outcome: CommandOutcome) -> Problem {
    match outcome {
        CommandOutcome::Refused { code, title, detail, replayed } => {
            let problem = Problem::refusal(&stream.aggregate, &code, title, detail);
            if replayed {
                return problem.with_header(IDEMPOTENCY_REPLAYED.clone(), HeaderValue::from_static("true"));
            }
            problem
        }
        CommandOutcome::UnknownAggregate { known } => {
            not_found(format!("there is no aggregate {:?}, there are: {}", stream.aggregate, known.join(", ")))
        }
        CommandOutcome::UnknownCommand { known } => {
            not_found(format!("{} has no such command, it has: {}", stream.aggregate, known.join(", ")))
        }
        CommandOutcome::InvalidId { detail } => Problem::new(&problem::MALFORMED_REQUEST, detail),
        CommandOutcome::Invalid { errors } => invalid(fields, errors),
        CommandOutcome::PreconditionFailed { current } => {
            let problem = Problem::new(&problem::PRECONDITION_FAILED, not_as_demanded(stream, current, demanded));
            at_version(problem.with("current_version", json_version(current)), current)
        }
        CommandOutcome::VersionConflict { current } => {
            let detail = format!("other commands on stream {stream} were faster each time: send it again");
            at_version(Problem::new(&problem::VERSION_CONFLICT, detail), current)
        }
        CommandOutcome::IdempotencyKeyReused => {
            let detail = "this Idempotency-Key was used for another command or other fields: take a new key";
            Problem::new(&problem::IDEMPOTENCY_KEY_REUSED, detail)
        }
        CommandOutcome::TooLarge { detail } => Problem::new(&problem::CONTENT_TOO_LARGE, detail),
        CommandOutcome::Unavailable { reason, retry_after } => match reason {
            UnavailableReason::Overloaded => Problem::shed(retry_after),
            UnavailableReason::StorageFull => {
                let detail = "nothing was written, and reading goes on: send it again once there is space";
                Problem::unavailable(&problem::STORAGE_FULL, retry_after, detail)
            }
            UnavailableReason::Database | UnavailableReason::Draining | UnavailableReason::Unreachable => {
                Problem::unavailable(&problem::UNAVAILABLE, retry_after, "nothing was written: send it again later")
            }
        },
        CommandOutcome::Unknown => {
            let detail =
                "it may have been executed: send the same request again, under the same Idempotency-Key if it had one";
            Problem::new(&problem::OUTCOME_UNKNOWN, detail)
        }
        _ => internal(),
    }
}

fn internal() -> Problem {
    Problem::new(&problem::INTERNAL, "nothing was written: the server's log has the details under the trace id")
}

fn not_found(detail: String) -> Problem {
    Problem::new(&problem::NOT_FOUND, detail)
}

/// Fields of a wrong type, or a body that is not JSON in the first place.
fn invalid(fields: &[u8], errors: Vec<FieldError>) -> Problem {
    let syntax_error = if fields.is_empty() { None } else { json::syntax_error(fields) };
    if let Some(error) = syntax_error {
        return Problem::new(&problem::MALFORMED_REQUEST, format!("the body is no JSON text: {error}"));
    }
    let detail = match errors.as_slice() {
        [only] if only.pointer.is_empty() => only.detail.clone(),
        [only] => format!("{}: {}", only.pointer, only.detail),
        several => format!("{} fields are not as the command has them", several.len()),
    };
    let errors: Vec<Value> = errors
        .into_iter()
        .map(|error| serde_json::json!({ "pointer": error.pointer, "detail": error.detail }))
        .collect();
    Problem::new(&problem::INVALID_COMMAND, detail).with("errors", errors)
}

fn not_as_demanded(stream: &Stream<'_>, current: Option<StreamVersion>, demanded: Precondition) -> String {
    match (demanded, current) {
        (Precondition::Version(wanted), Some(current)) => {
            format!("stream {stream} is at version {current}, not {wanted}: reload it and decide again")
        }
        (Precondition::Absent, Some(current)) => format!("stream {stream} exists, at version {current}"),
        (Precondition::Never, _) => format!(
            "no version of stream {stream} has an entity tag such as the one sent: a stream's is its version in quotes, \
             such as \"3\"; one that begins with W/ is that of a row"
        ),
        (_, Some(current)) => format!("stream {stream} is at version {current}: reload it and decide again"),
        (_, None) => format!("stream {stream} does not exist"),
    }
}

fn json_version(version: Option<StreamVersion>) -> Value {
    version.map_or(Value::Null, |version| version.get().into())
}

fn at_version(mut problem: Problem, version: Option<StreamVersion>) -> Problem {
    write_version(problem.headers(), version);
    problem
}
