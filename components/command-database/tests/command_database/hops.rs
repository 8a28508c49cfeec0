//! The hop of a command through this box, as traces see it.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use command_database::EventStore;
use runtime::Runtime;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::given::Given;

/// Notes the spans of the target that hops have.
#[derive(Clone, Default)]
struct Hops(Arc<Mutex<Vec<Vec<String>>>>);

impl Subscriber for Hops {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "diptych::hop"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(vec![span.metadata().name().to_owned()]);
        span.record(&mut fields);
        self.0.lock().expect("no panic").push(fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Fields(Vec<String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(format!("{}={value:?}", field.name()));
    }
}

#[tokio::test]
async fn each_appended_command_is_one_hop_of_its_trace() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let mut append = given.append("o-1", "1");
    append.metadata.trace.trace_id = 0xabc;
    let command = append.command_id;
    let hops = Hops::default();
    let listening = tracing::subscriber::set_default(hops.clone());
    store.append(vec![append, given.append("o-2", "2")]).await.expect("an append");
    drop(listening);
    let seen = hops.0.lock().expect("no panic").clone();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(
        seen[0],
        [
            "command-database".to_owned(),
            "diptych.box=\"command-database\"".to_owned(),
            "diptych.hop=4".to_owned(),
            format!("trace_id={:032x}", 0xabc),
            format!("command.id={command}"),
            "stream.id=order/o-1".to_owned(),
        ]
    );
}
