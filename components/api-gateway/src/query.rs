use std::borrow::Cow;

use axum::body::Body;
use http::{Response, request};
use model::Tenant;
use query_service::{Consistency, Handling, ListQuery, PointQuery, QueryOutcome};

use crate::{
    consistency,
    gateway::Shared,
    identity::Identity,
    negotiation,
    prefer::Preferences,
    problem::{self, Problem},
    query_answer::{self, Asked},
    route::{check_encoding, decode},
};

/// Name and value.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

const CONSISTENCY_TOKEN: &str = "consistency_token";

impl Shared {
    /// `GET /queries/{read_model}/{key}`.
    pub(crate) async fn point(
        &self,
        parts: &request::Parts,
        read_model: &str,
        key: &str,
        identity: &Identity,
    ) -> Result<Response<Body>, Problem> {
        negotiation::check_accept(&parts.headers)?;
        check_encoding(key)?;
        let parameters = parameters(parts.uri.query())?;
        if let Some((name, _)) = parameters.iter().find(|(name, _)| name != CONSISTENCY_TOKEN) {
            let detail = format!("a read of one row has no parameter {name:?}, only {CONSISTENCY_TOKEN}");
            return Err(Problem::new(&problem::UNKNOWN_PARAMETER, detail));
        }
        let (consistency, preferences) = self.consistency(parts, &parameters)?;
        let query = PointQuery {
            tenant: Tenant::default(),
            read_model: decode(read_model)?.into_owned(),
            key: key.to_owned(),
            consistency,
            trace: identity.trace,
            tracestate: identity.tracestate.clone(),
        };
        let limit = self.config.time_limit.saturating_add(consistency.wait);
        let outcome = self.within(limit, self.queries.point(query)).await.unwrap_or(LATE);
        query_answer::response(&Asked { parts, read_model, preferences, trace: identity.trace }, outcome)
    }

    /// `GET /queries/{read_model}`.
    pub(crate) async fn list(
        &self,
        parts: &request::Parts,
        read_model: &str,
        identity: &Identity,
    ) -> Result<Response<Body>, Problem> {
        negotiation::check_accept(&parts.headers)?;
        let mut parameters = parameters(parts.uri.query())?;
        let (consistency, preferences) = self.consistency(parts, &parameters)?;
        parameters.retain(|(name, _)| name != CONSISTENCY_TOKEN);
        let query = ListQuery {
            tenant: Tenant::default(),
            read_model: decode(read_model)?.into_owned(),
            parameters: parameters.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            consistency,
            trace: identity.trace,
            tracestate: identity.tracestate.clone(),
        };
        let limit = self.config.time_limit.saturating_add(consistency.wait);
        let outcome = self.within(limit, self.queries.list(query)).await.unwrap_or(LATE);
        query_answer::response(&Asked { parts, read_model, preferences, trace: identity.trace }, outcome)
    }

    fn consistency(
        &self,
        parts: &request::Parts,
        parameters: &[Parameter<'_>],
    ) -> Result<(Consistency, Preferences), Problem> {
        let mut sent = parameters.iter().filter(|(name, _)| name == CONSISTENCY_TOKEN).map(|(_, value)| &**value);
        let parameter = sent.next();
        if sent.any(|other| Some(other) != parameter) {
            let detail = "the parameter consistency_token was sent twice, with different values: send one";
            return Err(Problem::new(&problem::INVALID_CONSISTENCY_TOKEN, detail));
        }
        let preferences = Preferences::of(&parts.headers, self.config.wait_max);
        let consistency = Consistency {
            token: consistency::token(&parts.headers, parameter)?,
            handling: preferences.handling.unwrap_or(Handling::Strict),
            wait: preferences.wait.unwrap_or(self.config.wait_default),
        };
        Ok((consistency, preferences))
    }
}

/// A query that was not answered in time.
const LATE: QueryOutcome = QueryOutcome::Unavailable { retry_after: std::time::Duration::from_secs(1) };

/// The parameters of a query string, decoded (`application/x-www-form-urlencoded`), in the order sent.
fn parameters(query: Option<&str>) -> Result<Vec<Parameter<'_>>, Problem> {
    let Some(query) = query else {
        return Ok(Vec::new());
    };
    query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((form_decode(name)?, form_decode(value)?))
        })
        .collect()
}

fn form_decode(encoded: &str) -> Result<Cow<'_, str>, Problem> {
    if !encoded.contains('+') {
        return decode(encoded);
    }
    let spaced = encoded.replace('+', " ");
    decode(&spaced).map(|text| Cow::Owned(text.into_owned()))
}
