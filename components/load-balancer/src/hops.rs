//! The load balancer's hops of a traced request: spans under one target, which cost a comparison while nobody looks.
//!
//! They never nest in those of other boxes: what joins the hops of a request is the trace id, since the next box may be
//! another process.

use http::Method;
use tracing::{Span, debug_span, field::Empty};

use crate::origin::Origin;

/// Hop 1: the user's request arrives.
pub(crate) fn arrival(origin: &Origin) -> Span {
    traced(
        debug_span!(
            target: "diptych::hop", parent: None, "load-balancer",
            diptych.box = "load-balancer", diptych.hop = 1, trace_id = Empty
        ),
        origin,
    )
}

/// Whether the way back of a request's answer counts as hops: that of a query does, as a command's ends with the row.
pub(crate) fn comes_back(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && path.starts_with("/queries/")
}

/// Hop 11: the gateway's answer to a query arrives, to be rebuilt.
pub(crate) fn answer(comes_back: bool, origin: &Origin) -> Span {
    if !comes_back {
        return Span::none();
    }
    traced(
        debug_span!(
            target: "diptych::hop", parent: None, "load-balancer",
            diptych.box = "load-balancer", diptych.hop = 11, trace_id = Empty
        ),
        origin,
    )
}

/// Hop 12: the answer is handed to the user.
pub(crate) fn handing_over(comes_back: bool, origin: &Origin) -> Span {
    if !comes_back {
        return Span::none();
    }
    traced(
        debug_span!(
            target: "diptych::hop", parent: None, "user",
            diptych.box = "user", diptych.hop = 12, trace_id = Empty
        ),
        origin,
    )
}

fn traced(span: Span, origin: &Origin) -> Span {
    if !span.is_disabled() {
        span.record("trace_id", origin.trace_id());
    }
    span
}
