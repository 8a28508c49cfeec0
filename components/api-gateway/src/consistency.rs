use std::time::Duration;

use http::{HeaderMap, HeaderName};
use model::ConsistencyToken;
use query_service::Freshness;

use crate::{
    header::insert,
    identity::only,
    problem::{self, Problem},
};

pub(crate) static CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
static CONSISTENCY: HeaderName = HeaderName::from_static("consistency");

/// The token of a query, from its header, its parameter, or both, if they are the same.
pub(crate) fn token(headers: &HeaderMap, parameter: Option<&str>) -> Result<Option<ConsistencyToken>, Problem> {
    let refuse = |detail: &'static str| Problem::new(&problem::INVALID_CONSISTENCY_TOKEN, detail);
    let header =
        only(headers, &CONSISTENCY_TOKEN).map_err(|()| refuse("several Consistency-Token headers differ: send one"))?;
    let header = header.map(|value| value.to_str().unwrap_or_default().trim());
    let sent = match (header, parameter) {
        (Some(header), Some(parameter)) if header != parameter => {
            return Err(refuse("Consistency-Token and the parameter consistency_token differ: send one of them"));
        }
        (Some(sent), _) | (None, Some(sent)) => sent,
        (None, None) => return Ok(None),
    };
    match sent.parse() {
        Ok(token) => Ok(Some(token)),
        Err(_) => Err(refuse("this is no consistency token: send one back as it was received, or leave it out")),
    }
}

/// Says how stale an answer is; nothing where there is nothing to report.
pub(crate) fn write(headers: &mut HeaderMap, freshness: Freshness) {
    if let Freshness::Stale { behind, age } = freshness {
        write_stale(headers, behind, age);
    }
}

/// An item of RFC 9651: integers have at most 15 digits, decimals 12 before the point.
pub(crate) fn write_stale(headers: &mut HeaderMap, behind: u64, age: Duration) {
    let behind = behind.min(999_999_999_999_999);
    let age = age.as_secs_f64().min(1e9);
    match behind {
        0 => insert::<64>(headers, CONSISTENCY.clone(), format_args!("stale;age={age:.1}")),
        _ => insert::<64>(headers, CONSISTENCY.clone(), format_args!("stale;behind={behind};age={age:.1}")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use model::{EpochId, Position};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn in_header(value: &[u8]) -> Option<ConsistencyToken> {
        let value = HeaderValue::from_bytes(value).ok()?;
        token(&HeaderMap::from_iter([(CONSISTENCY_TOKEN.clone(), value)]), None).ok()?
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_token_comes_back_as_it_was_given_out(epoch: u128, position in 1_u64..) {
            let position = Position::new(position).expect("not zero");
            let given = ConsistencyToken { epoch: EpochId(Uuid::from_u128(epoch)), position };
            let text = given.to_string();
            prop_assert_eq!(in_header(text.as_bytes()), Some(given));
            prop_assert_eq!(token(&HeaderMap::new(), Some(&text)).ok().flatten(), Some(given));
        }

        #[test]
        fn a_token_that_is_taken_prints_back_to_itself(
            text in prop_oneof!["v1\\.[A-Za-z0-9_-]{30,34}", "v1\\.[A-Za-z0-9_=+/-]{0,40}", "\\PC{0,40}"],
        ) {
            if let Ok(Some(token)) = token(&HeaderMap::new(), Some(&text)) {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn a_header_that_is_taken_prints_back_to_itself_but_for_the_blanks_around_it(
            value in prop_oneof![
                "[ \t]{0,2}v1\\.[A-Za-z0-9_-]{32}[ \t]{0,2}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..40),
            ],
        ) {
            if let Some(token) = in_header(&value) {
                prop_assert_eq!(token.to_string().into_bytes(), value.trim_ascii());
            }
        }
    }
}
