use std::sync::{Arc, Mutex};

use load_balancer::{Limits, Metrics};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

use crate::support::{GET, echo, gateway, over, run_over, text_of};

#[tokio::test]
async fn requests_and_backends_are_counted_under_their_names() {
    let metrics = Metrics::new();
    let (up, down) = (gateway("up", echo), gateway("down", echo));
    down.set_ready(false);
    let running = run_over(Limits::default(), over(vec![up, down], &metrics), metrics);
    for _ in 0..3 {
        running.ask(GET).await;
    }
    running.ask("BREW / HTTP/1.1\r\nHost: a\r\nVia: 1.1 diptych\r\n\r\n").await;
    let text = text_of(&running.metrics);
    for line in [
        "diptych_load_balancer_request_duration_seconds_count{method=\"GET\",status=\"200\"} 3\n",
        "diptych_load_balancer_request_duration_seconds_count{method=\"other\",status=\"508\"} 1\n",
        "diptych_load_balancer_backend_up{backend=\"up\"} 1\n",
        "diptych_load_balancer_backend_up{backend=\"down\"} 0\n",
        "diptych_load_balancer_limited_total{policy=\"connections\"} 0\n",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

/// Notes the spans of hops in the order in which they begin.
#[derive(Clone, Default)]
struct Hops(Arc<Mutex<Vec<(Id, Hop)>>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    of_box: String,
    number: u64,
    trace_id: String,
}

impl Visit for Hop {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "diptych.hop" {
            self.number = value;
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, u64::try_from(value).expect("a positive hop"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "diptych.box" => value.clone_into(&mut self.of_box),
            "trace_id" => value.clone_into(&mut self.trace_id),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Hops {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() == "diptych::hop" {
            assert!(attributes.is_root(), "hops do not nest");
            let mut hop = Hop::default();
            attributes.record(&mut hop);
            self.0.lock().expect("no panic").push((id.clone(), hop));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        // Ids are used again: the last one is meant.
        if let Some((_, hop)) = self.0.lock().expect("no panic").iter_mut().rfind(|(noted, _)| noted == id) {
            values.record(hop);
        }
    }
}

#[tokio::test]
async fn a_query_passes_three_hops_here_and_a_command_one_all_with_its_trace() {
    // For the whole process: a subscriber of one thread does not learn of spans that another thread met first.
    let hops = Hops::default();
    let subscriber = tracing_subscriber::registry().with(hops.clone());
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    let metrics = Metrics::new();
    let running = run_over(Limits::default(), over(vec![gateway("one", echo)], &metrics), metrics);
    let trace = "5b8aa5a2d2c872e8321cf37308d69df2";
    let traced =
        |line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n\r\n");
    running.ask(traced("GET /queries/sales/tea")).await;
    running.ask(traced("POST /commands/order/o-1/pay")).await;

    let noted = hops.0.lock().expect("no panic").clone();
    let seen: Vec<_> = noted.into_iter().map(|(_, hop)| hop).filter(|hop| hop.trace_id == trace).collect();
    let hop = |of_box: &str, number| Hop { of_box: of_box.to_owned(), number, trace_id: trace.to_owned() };
    assert_eq!(seen, [hop("load-balancer", 1), hop("load-balancer", 11), hop("user", 12), hop("load-balancer", 1)]);
}
