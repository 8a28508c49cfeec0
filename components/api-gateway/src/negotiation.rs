use http::{HeaderMap, HeaderName, header};

use crate::{
    header::{elements, split},
    problem::{self, Problem},
};

/// Refuses unless the client takes JSON (RFC 9110 §12.5.1).
pub(crate) fn check_accept(headers: &HeaderMap) -> Result<(), Problem> {
    const NAME: HeaderName = header::ACCEPT;
    let Some(first) = headers.get(NAME) else {
        return Ok(());
    };
    if first == "*/*" || first == "application/json" || accepts_json(headers, &NAME) {
        return Ok(());
    }
    Err(Problem::new(&problem::NOT_ACCEPTABLE, "rows are application/json: let Accept include it, or leave it out"))
}

/// The most specific range that covers JSON decides.
fn accepts_json(headers: &HeaderMap, name: &HeaderName) -> bool {
    let weighed = elements(headers, name).filter_map(|element| {
        let mut parts = split(element, ';');
        let specific = match parts.next()? {
            range if range.eq_ignore_ascii_case("application/json") => 3,
            range if range.eq_ignore_ascii_case("application/*") => 2,
            "*/*" => 1,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((specific, weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))))
    });
    weighed.max().is_some_and(|(_, accepted)| accepted)
}

/// Refuses a command's body that is not announced as plain JSON. Without a body there is nothing to announce.
pub(crate) fn check_content_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let detail = "a command's body is taken as it is: send it without a Content-Encoding";
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let is_json = match headers.get(header::CONTENT_TYPE) {
        None => body.is_empty(),
        Some(announced) if announced == "application/json" => true,
        Some(announced) => announced.to_str().is_ok_and(|announced| {
            split(announced, ';').next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        }),
    };
    if is_json {
        return Ok(());
    }
    let detail = "a command's fields are JSON: send them with Content-Type: application/json";
    Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_acceptable_unless_excluded() {
        for (accept, accepted) in [
            ("*/*", true),
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/html, application/*;q=0.1", true),
            ("text/html, */*;q=0", false),
            ("application/json;q=0, */*", false),
            ("application/json;q=0.000", false),
            ("text/html", false),
            ("text/event-stream", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header value"));
            assert_eq!(check_accept(&headers).is_ok(), accepted, "{accept}");
        }
    }

    #[test]
    fn a_body_is_announced_as_json() {
        for (announced, body, taken) in [
            (Some("application/json"), "{}", true),
            (Some("application/json;charset=utf-8"), "{}", true),
            (None, "", true),
            (None, "{}", false),
            (Some("text/plain"), "{}", false),
            (Some("application/jsonp"), "{}", false),
            (Some("application/x-www-form-urlencoded"), "", false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(announced) = announced {
                headers.insert(header::CONTENT_TYPE, announced.parse().expect("a header value"));
            }
            assert_eq!(check_content_type(&headers, body.as_bytes()).is_ok(), taken, "{announced:?} {body:?}");
        }
    }
}
