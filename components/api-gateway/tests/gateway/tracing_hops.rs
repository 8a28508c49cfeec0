use std::{
    fmt,
    sync::{Arc, Mutex},
};

use query_service::Freshness;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::fixture::{Fixture, accepted, answered, get, post, row};

/// Keeps the fields of every span of the hops.
#[derive(Clone, Default)]
struct Hops(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!(" {}={value}", field.name());
    }
}

impl Subscriber for Hops {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "diptych::hop"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        let mut seen = self.0.lock().expect("no panic holds it");
        seen.push(fields.0);
        Id::from_u64(seen.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn the_gateway_is_hop_2_of_commands_and_hops_2_and_10_of_queries() {
    let hops = Hops::default();
    // Where there is only one, the first thread to pass a span asks its own subscriber whether anybody wants it, for all
    // threads and for ever: another test's thread, which has none, would silence the span.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(hops.clone());
    let fixture = Fixture::new();
    fixture.command_answers(accepted(true, false)).query_answers(answered(row("{}"), Freshness::Fresh));
    let headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    fixture.send(post("/commands/order/o-1/place", &headers, "{}")).await;
    fixture.send(get("/queries/sales/a", &headers)).await;
    let span = |hop| {
        format!("api-gateway diptych.box=api-gateway diptych.hop={hop} trace_id=0af7651916cd43dd8448eb211c80319c")
    };
    assert_eq!(*hops.0.lock().expect("as above"), [span(2), span(2), span(10)]);
}
