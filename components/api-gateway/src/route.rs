use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::problem::{self, Problem};

/// What a path names. Its parts are as they stand in the path, encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Command { aggregate: &'a str, id: &'a str, command: &'a str },
    Point { read_model: &'a str, key: &'a str },
    List { read_model: &'a str },
    ErrorPage { code: &'a str },
    Nothing,
}

impl<'a> Route<'a> {
    // By hand and not by a router: keys are taken undecoded, however many segments they have, and all refusals are problems.
    pub(crate) fn of(path: &'a str) -> Self {
        if let Some(rest) = path.strip_prefix("/queries/") {
            return match rest.split_once('/') {
                Some((read_model, key)) if !read_model.is_empty() => Self::Point { read_model, key },
                None if !rest.is_empty() => Self::List { read_model: rest },
                _ => Self::Nothing,
            };
        }
        if let Some(rest) = path.strip_prefix("/commands/") {
            return Self::command(rest).unwrap_or(Self::Nothing);
        }
        match path.strip_prefix("/errors/") {
            Some(code) if !code.is_empty() && !code.contains('/') => Self::ErrorPage { code },
            _ => Self::Nothing,
        }
    }

    fn command(path: &'a str) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let (aggregate, id, command) = (segments.next()?, segments.next()?, segments.next()?);
        // An empty segment was skipped, or there is one more: then the lengths do not add up.
        (aggregate.len() + id.len() + command.len() + 2 == path.len()).then_some(Self::Command {
            aggregate,
            id,
            command,
        })
    }

    /// The methods it answers.
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Command { .. } => "POST",
            _ => "GET, HEAD",
        }
    }

    pub(crate) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Command { .. } => *method == Method::POST,
            Self::Nothing => true,
            _ => *method == Method::GET || *method == Method::HEAD,
        }
    }
}

/// The text that a segment of a path, or a part of a query string, encodes.
pub(crate) fn decode(encoded: &str) -> Result<Cow<'_, str>, Problem> {
    if !encoded.contains('%') {
        return Ok(Cow::Borrowed(encoded));
    }
    check_encoding(encoded)?;
    percent_decode_str(encoded).decode_utf8().map_err(|_| {
        Problem::new(
            &problem::MALFORMED_REQUEST,
            format!("{encoded:?} does not decode to UTF-8: encode the text's UTF-8 bytes"),
        )
    })
}

/// Every `%` must be followed by two hexadecimal digits.
pub(crate) fn check_encoding(encoded: &str) -> Result<(), Problem> {
    let mut parts = encoded.split('%');
    parts.next();
    for part in parts {
        let digits = part.as_bytes().get(..2);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let detail = "a % in the address is not followed by two hexadecimal digits: write a % itself as %25";
            return Err(Problem::new(&problem::MALFORMED_REQUEST, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::{Route, decode};

    #[test]
    fn a_path_is_what_its_segments_say() {
        for (path, route) in [
            ("/commands/order/o-1/place", Route::Command { aggregate: "order", id: "o-1", command: "place" }),
            ("/commands/order/a%2Fb/place", Route::Command { aggregate: "order", id: "a%2Fb", command: "place" }),
            ("/commands/order/o-1", Route::Nothing),
            ("/commands/order//o-1/place", Route::Nothing),
            ("/commands/order//place", Route::Nothing),
            ("/commands/order/o-1/place/", Route::Nothing),
            ("/commands/order/o-1/place/now", Route::Nothing),
            ("/commands", Route::Nothing),
            ("/queries/sales", Route::List { read_model: "sales" }),
            ("/queries/sales/a", Route::Point { read_model: "sales", key: "a" }),
            ("/queries/sales/a/b%20c", Route::Point { read_model: "sales", key: "a/b%20c" }),
            ("/queries/sales/", Route::Point { read_model: "sales", key: "" }),
            ("/queries/", Route::Nothing),
            ("/queries//a", Route::Nothing),
            ("/errors/not-found", Route::ErrorPage { code: "not-found" }),
            ("/errors/", Route::Nothing),
            ("/", Route::Nothing),
            ("*", Route::Nothing),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn encoding_is_taken_strictly() {
        assert_eq!(decode("BANK%20CHARGES").ok().as_deref(), Some("BANK CHARGES"));
        for wrong in ["%", "%2", "a%zzb", "%ff", "50%"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }

    /// The path that a route stands for.
    fn path(route: Route<'_>) -> Option<String> {
        match route {
            Route::Command { aggregate, id, command } => Some(format!("/commands/{aggregate}/{id}/{command}")),
            Route::Point { read_model, key } => Some(format!("/queries/{read_model}/{key}")),
            Route::List { read_model } => Some(format!("/queries/{read_model}")),
            Route::ErrorPage { code } => Some(format!("/errors/{code}")),
            Route::Nothing => None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_route_prints_back_to_its_path(sent in "(/commands|/queries|/errors)?(/{1,2}[a-z%.]{0,3}){0,5}|\\PC{0,20}") {
            if let Some(printed) = path(Route::of(&sent)) {
                prop_assert_eq!(printed, sent);
            }
        }

        #[test]
        fn any_text_can_be_a_segment(text: String) {
            let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&encoded).ok().map(String::from), Some(text));
        }

        #[test]
        fn what_decodes_is_what_its_encoding_decodes_to(sent in "(%[0-9a-fA-F]{0,2}|[a-c+]|\\PC){0,8}") {
            if let Ok(text) = decode(&sent) {
                let again = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
                prop_assert_eq!(decode(&again).ok(), Some(text));
            }
        }
    }
}
