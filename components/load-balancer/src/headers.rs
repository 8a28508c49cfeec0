//! The forwarding rules for headers (RFC 9110 §7.6, RFC 7239).
//!
//! One pass over the names decides whether anything has to be done at all: an ordinary request has nothing to remove, and
//! a look-up for each name that might be there would cost more than the rest of the hop.

use std::net::IpAddr;

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONNECTION, FORWARDED, HOST, VIA},
    uri::PathAndQuery,
};

use crate::refusal::Refusal;

/// What a header is to a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Means what it says to the other end: passes.
    EndToEnd,
    /// About this connection only (RFC 9110 §7.6.1).
    HopByHop,
    /// Tells whom a request came from: worth as much as the peer that says so.
    Provenance,
    /// Ours between boxes: from outside it is a forgery.
    Identity,
}

fn kind(name: &HeaderName) -> Kind {
    let name = name.as_str();
    match name.as_bytes().first() {
        Some(b'c') if name == "connection" => Kind::HopByHop,
        Some(b'k') if name == "keep-alive" => Kind::HopByHop,
        Some(b'p') if name.starts_with("proxy-") => Kind::HopByHop,
        Some(b't') if matches!(name, "te" | "trailer" | "transfer-encoding") => Kind::HopByHop,
        Some(b'u') if name == "upgrade" => Kind::HopByHop,
        Some(b'f') if name == "forwarded" => Kind::Provenance,
        Some(b'x') if name.starts_with("x-forwarded-") || name == "x-real-ip" => Kind::Provenance,
        Some(b'x') if name.starts_with("x-diptych-") => Kind::Identity,
        _ => Kind::EndToEnd,
    }
}

/// Removes what must not travel from the peer to an instance.
pub(crate) fn clean_request(headers: &mut HeaderMap, peer_is_trusted: bool) {
    remove(headers, |kind| match kind {
        Kind::EndToEnd => false,
        Kind::HopByHop | Kind::Identity => true,
        Kind::Provenance => !peer_is_trusted,
    });
}

/// Removes what was meant for the connection between instance and load balancer.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove(headers, |kind| kind == Kind::HopByHop);
}

fn remove(headers: &mut HeaderMap, doomed: impl Fn(Kind) -> bool) {
    if !headers.keys().any(|name| doomed(kind(name))) {
        return;
    }
    let mut names: Vec<HeaderName> = headers.keys().filter(|name| doomed(kind(name))).cloned().collect();
    for value in headers.get_all(CONNECTION) {
        names.extend(value.as_bytes().split(|byte| *byte == b',').filter_map(|name| {
            // What is no header name cannot be the name of a header that is there. `Host` is for every recipient.
            HeaderName::from_bytes(name.trim_ascii()).ok().filter(|name| *name != HOST)
        }));
    }
    for name in names {
        headers.remove(name);
    }
}

/// Makes a target the path that it names on this server (RFC 9112 §3.2), and its authority, if it has one, the `Host`.
pub(crate) fn settle_target(request: &mut Request<Body>) -> Result<(), Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Malformed("CONNECT asks for a tunnel, and this server is no such proxy"));
    }
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    // Who asks has no business in a target, and it would not be read the same way by everybody.
    let host = HeaderValue::from_str(authority.as_str()).ok().filter(|_| !authority.as_str().contains('@'));
    let host = host.ok_or(Refusal::Malformed("the target's authority is not a host"))?;
    let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(target);
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// Whether a `Via` entry says that the request has passed `pseudonym` before.
pub(crate) fn has_passed(headers: &HeaderMap, pseudonym: &str) -> bool {
    headers.get_all(VIA).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|entry| {
            // An entry is `protocol received-by [comment]`.
            entry
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .nth(1)
                .is_some_and(|by| by.eq_ignore_ascii_case(pseudonym.as_bytes()))
        })
    })
}

/// The far end of a connection, and what is said about it to the instances. Made once a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) forwarded: HeaderValue,
    pub(crate) is_trusted: bool,
}

impl Peer {
    /// A peer without an address, for requests that did not come over a socket.
    #[must_use]
    pub fn unknown() -> Self {
        Self { forwarded: HeaderValue::from_static("for=unknown;proto=http"), is_trusted: false }
    }

    pub(crate) fn new(address: IpAddr, is_trusted: bool, is_under_tls: bool) -> Self {
        let proto = if is_under_tls { "https" } else { "http" };
        // RFC 7239 §6: an IPv6 address stands in brackets and, since it holds colons, in quotes.
        let forwarded = match address {
            IpAddr::V4(address) => format!("for={address};proto={proto}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\";proto={proto}"),
        };
        let forwarded = HeaderValue::try_from(forwarded).unwrap_or_else(|_| Self::unknown().forwarded);
        Self { forwarded, is_trusted }
    }

    /// Adds this peer at the end of the chain of those a request came through.
    pub(crate) fn append_to(&self, headers: &mut HeaderMap) {
        headers.append(FORWARDED, self.forwarded.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_concerns_one_connection_does_not_travel() {
        let mut received = headers(&[
            ("connection", "keep-alive, X-Private , not a name"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-checksum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-private", "1"),
            ("x-public", "1"),
            ("content-type", "application/json"),
        ]);
        clean_request(&mut received, true);
        assert_eq!(names(&received), ["content-type", "x-public"]);
    }

    #[test]
    fn a_stranger_cannot_say_whom_a_request_came_from() {
        let claims = [("forwarded", "for=10.0.0.1"), ("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")];
        let mut from_stranger = headers(&claims);
        clean_request(&mut from_stranger, false);
        assert!(from_stranger.is_empty());

        let mut from_trusted = headers(&claims);
        clean_request(&mut from_trusted, true);
        assert_eq!(from_trusted.len(), 3);
    }

    #[test]
    fn nobody_outside_can_send_identity_headers() {
        for trusted in [false, true] {
            let mut received = headers(&[("x-diptych-principal", "root"), ("accept", "*/*")]);
            clean_request(&mut received, trusted);
            assert_eq!(names(&received), ["accept"]);
        }
    }

    #[test]
    fn a_loop_is_seen_by_the_own_pseudonym_in_any_via() {
        for (via, passed) in [
            ("1.1 diptych", true),
            ("1.0 fred, 1.1 Diptych (shop)", true),
            ("HTTP/1.1   diptych", true),
            ("1.1 diptych2", false),
            ("diptych 1.1", false),
            ("1.1 example.com (diptych)", false),
            ("", false),
        ] {
            assert_eq!(has_passed(&headers(&[("via", via)]), "diptych"), passed, "{via}");
        }
    }

    #[test]
    fn an_ipv6_peer_stands_in_brackets_and_quotes() {
        let peer = Peer::new(std::net::Ipv6Addr::LOCALHOST.into(), false, false);
        assert_eq!(peer.forwarded, "for=\"[::1]\";proto=http");
    }
}
