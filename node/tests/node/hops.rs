//! One traced command and one traced query make the twelve hops of the diagram visible, each as a span under its box's name.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, OnceLock},
};

use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

use crate::{
    apart::Apart,
    system::{System, wait_until},
};

#[derive(Clone, Debug, Default)]
struct Hop {
    number: u64,
    of: String,
    trace_id: String,
}

impl Visit for Hop {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "diptych.hop" {
            self.number = value;
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, value.unsigned_abs());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "diptych.box" => value.clone_into(&mut self.of),
            "trace_id" => value.clone_into(&mut self.trace_id),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, format!("{value:?}").trim_matches('"'));
    }
}

/// Remembers every hop in the order in which the spans were made. A span without a trace belongs to that of its parent.
#[derive(Clone, Default)]
struct Hops(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    order: Vec<u64>,
    by_id: BTreeMap<u64, Hop>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Hops {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "diptych::hop" {
            return;
        }
        let mut hop = Hop::default();
        attributes.record(&mut hop);
        let mut hops = self.0.lock().expect("nobody panicked");
        if hop.trace_id.is_empty() {
            let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.id().into_u64());
            if let Some(parent) = parent.and_then(|parent| hops.by_id.get(&parent)) {
                hop.trace_id.clone_from(&parent.trace_id);
            }
        }
        hops.order.push(id.into_u64());
        hops.by_id.insert(id.into_u64(), hop);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut hops = self.0.lock().expect("nobody panicked");
        if let Some(hop) = hops.by_id.get_mut(&id.into_u64()) {
            values.record(hop);
        }
    }
}

impl Hops {
    fn of(&self, trace_id: &str) -> Vec<(u64, String)> {
        let hops = self.0.lock().expect("nobody panicked");
        let in_order = hops.order.iter().map(|id| &hops.by_id[id]).filter(|hop| hop.trace_id == trace_id);
        in_order.map(|hop| (hop.number, hop.of.clone())).collect()
    }
}

fn expected(hops: &[(u64, &str)]) -> Vec<(u64, String)> {
    hops.iter().map(|(number, of)| (*number, (*of).to_owned())).collect()
}

/// What all tests of this file see: there is one subscriber a process.
fn watched() -> Hops {
    static HOPS: LazyLock<Hops> = LazyLock::new(|| {
        let hops = Hops::default();
        // Where there is only one, the first thread to pass a span asks its own subscriber whether anybody wants it, for all
        // threads and for ever: another test's thread, which may have none yet, would silence the span.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));
        tracing_subscriber::registry().with(hops.clone()).init();
        hops
    });
    HOPS.clone()
}

fn traced(trace_id: &str) -> String {
    format!("traceparent: 00-{trace_id}-00f067aa0ba902b7-01\r\n")
}

/// Sends one command and one query by `ask`, and looks for the hops of each.
fn assert_twelve_hops(traces: [&str; 2], ask: impl Fn(&str, &str, &str, &str) -> String, is_folded: impl Fn() -> bool) {
    let (hops, [command, query]) = (watched(), traces);
    let answer = ask("POST", "/commands/account/a-1/open", &traced(command), "{\"owner\":\"c-7\"}");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains(command), "the answer names another trace: {answer}");
    wait_until("the event is folded and committed", is_folded);
    let answer = ask("GET", "/queries/ledger/account/a-1", &traced(query), "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    assert_eq!(
        hops.of(command),
        expected(&[
            (1, "load-balancer"),
            (2, "api-gateway"),
            (3, "command-service"),
            (4, "command-database"),
            (5, "message-queue"),
            (6, "event-handler"),
            (7, "query-database"),
        ])
    );
    assert_eq!(
        hops.of(query),
        expected(&[
            (1, "load-balancer"),
            (2, "api-gateway"),
            (8, "query-service"),
            (9, "query-database"),
            (10, "api-gateway"),
            (11, "load-balancer"),
            (12, "user"),
        ])
    );
}

#[test]
fn one_command_and_one_query_yield_the_twelve_hops_in_order() {
    let _ = watched();
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), testkit::domain::registry(), |_| {});
    assert_twelve_hops(
        ["4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736"],
        |method, path, headers, body| system.ask(method, path, headers, body),
        || system.status()["projections"][0]["position"] == 1,
    );
    system.stop();
}

#[test]
fn they_do_so_with_every_box_apart() {
    let _ = watched();
    let apart = Apart::start();
    let system = apart.system();
    // Both event handlers begin with the same read model; one of them stands by before long.
    let folded = |events: usize| {
        let answer = system.ask("GET", "/queries/ledger/log/all", "", "");
        answer.contains(&format!("\"n\":{events}"))
    };
    for before in 0..2 {
        let answer = system.ask("POST", &format!("/commands/account/b-{before}/open"), "", "{\"owner\":\"c-7\"}");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        wait_until("it is folded", || folded(before + 1));
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    assert_twelve_hops(
        ["6bf92f3577b34da6a3ce929d0e0e4736", "7bf92f3577b34da6a3ce929d0e0e4736"],
        |method, path, headers, body| system.ask(method, path, headers, body),
        || folded(3),
    );
    system.stop(&apart);
}
