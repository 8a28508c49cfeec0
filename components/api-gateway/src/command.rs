use axum::body::Body;
use bytes::Bytes;
use command_service::{CommandOutcome, CommandRequest};
use http::{HeaderMap, Response, header, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::{Principal, Tenant};

use crate::{
    command_answer,
    gateway::Shared,
    idempotency,
    identity::Identity,
    json, negotiation, precondition,
    prefer::Preferences,
    problem::{self, Problem},
    route::decode,
};

impl Shared {
    /// `POST /commands/{aggregate}/{id}/{command}`.
    pub(crate) async fn command(
        &self,
        parts: &request::Parts,
        path: [&str; 3],
        body: Body,
        identity: &Identity,
    ) -> Result<Response<Body>, Problem> {
        if let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) {
            let detail = format!("commands take no parameters, but {query:?} was sent: put fields into the body");
            return Err(Problem::new(&problem::UNKNOWN_PARAMETER, detail));
        }
        let preferences = Preferences { handling: None, ..Preferences::of(&parts.headers, self.config.wait_max) };
        let fields = self.body(&parts.headers, body).await?;
        negotiation::check_content_type(&parts.headers, &fields)?;
        if json::is_too_deep(&fields) {
            let detail = format!("the body nests deeper than {} levels: send flatter fields", json::DEPTH_MAX);
            return Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
        }
        let request = request(&parts.headers, path, fields, identity)?;
        let stream = command_answer::Stream { aggregate: decode(path[0])?, id: decode(path[1])? };
        // Shares the bytes: they are looked at again only if the service finds fault with them.
        let fields = request.fields.clone();
        let precondition = request.precondition;
        let limit = preferences.wait.map_or(self.config.time_limit, |wait| wait.min(self.config.time_limit));
        // When time runs out the command runs on: only the answer is lost.
        let outcome = self.within(limit, self.commands.execute(request)).await.unwrap_or(CommandOutcome::Unknown);
        let mut answer = match outcome {
            CommandOutcome::Accepted { .. } => command_answer::accepted(&stream, outcome),
            other => Err(command_answer::refused(&stream, precondition, &fields, other)),
        };
        match &mut answer {
            Ok(response) => preferences.write(response.headers_mut()),
            Err(problem) => preferences.write(problem.headers()),
        }
        answer
    }

    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let limit = self.config.body_bytes_max;
        let too_large = || {
            let detail = format!("the body is longer than {limit} bytes: send less with one command");
            Problem::new(&problem::CONTENT_TOO_LARGE, detail)
        };
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > limit as u64) {
            return Err(too_large());
        }
        let collected = std::pin::pin!(Limited::new(body, limit).collect());
        match self.within(self.config.time_limit, collected).await {
            Some(Ok(collected)) => Ok(collected.to_bytes()),
            Some(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Some(Err(_)) => Err(Problem::new(&problem::MALFORMED_REQUEST, "the body ended before it was complete")),
            None => {
                Err(Problem::new(&problem::MALFORMED_REQUEST, "the body did not arrive in time: nothing was executed"))
            }
        }
    }
}

fn request(
    headers: &HeaderMap,
    [aggregate, id, command]: [&str; 3],
    fields: Bytes,
    identity: &Identity,
) -> Result<CommandRequest, Problem> {
    let key = idempotency::key(headers)?;
    let mut request = CommandRequest {
        tenant: Tenant::default(),
        principal: Principal::default(),
        aggregate: decode(aggregate)?.into_owned(),
        id: decode(id)?.into_owned(),
        command: decode(command)?.into_owned(),
        fields,
        precondition: precondition::of(headers)?,
        idempotency: None,
        correlation: None,
        causation: None,
        trace: identity.trace,
        tracestate: identity.tracestate.clone(),
    };
    request.idempotency = key.map(|key| idempotency::scoped(&key, &request));
    Ok(request)
}
