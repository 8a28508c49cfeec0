use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StreamId, StreamVersion, Tenant,
    TraceContext,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::Error;

fn shop() -> CloudEvents {
    CloudEvents {
        application: "shop".to_owned(),
        type_prefix: "com.example.shop.".to_owned(),
        schemas_url: Some("https://shop.example/schemas/".to_owned()),
    }
}

fn uuids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn times() -> impl Strategy<Value = Timestamp> {
    (-1_000_000_000_000_000_i64..4_000_000_000_000_000).prop_map(|microseconds| {
        Timestamp::from_microsecond(microseconds).expect("the range is within what jiff represents")
    })
}

/// Also with dots, wildcards, spaces at either end, quotes, control characters and what is not ASCII.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        "[ -~]{0,20}",
        "[\\x00-\\x20\"%.*>:øé漢]{0,12}",
        Just("\r\nNats-Msg-Id: 7".to_owned()),
        Just("%41%".to_owned())
    ]
}

prop_compose! {
    fn metadatas()(
        principal in texts(), time in times(), correlation in uuids(), causation in uuids(),
        trace_id: u128, parent_id: u64, sampled: bool, tracestate in prop::option::of(texts()),
    ) -> Metadata {
        let trace = TraceContext { trace_id, parent_id, sampled };
        let (principal, tracestate) = (Principal::new(&principal), tracestate.map(Into::into));
        Metadata { principal, time, correlation, causation, trace, tracestate }
    }
}

prop_compose! {
    fn streams()(tenant in "default|[a-z]{1,8}|[^a]{1,5}", aggregate in "[a-z_]{1,10}|[^a]{1,5}", id in texts()) -> StreamId {
        StreamId { tenant: Tenant::new(&tenant), aggregate: aggregate.into(), id: id.into() }
    }
}

prop_compose! {
    fn events()(
        position in 1_u64.., epoch in uuids(), event_id in uuids(), stream in streams(), version in 1_u64..,
        name in "[a-z.]{1,20}|order\\.v1|.{1,8}", type_version: u32, command_id in uuids(), command_events: u32,
        payload in prop::collection::vec(any::<u8>(), 0..200), metadata in metadatas(), recorded_at in times(),
        hash: [u8; 32],
    ) -> StoredEvent {
        StoredEvent {
            position: Position::new(position).expect("not zero"),
            epoch: EpochId(epoch),
            event_id: EventId(event_id),
            stream,
            version: StreamVersion::new(version).expect("not zero"),
            event_type: EventType { name: name.into(), version: type_version },
            command_id: CommandId(command_id),
            command_events,
            payload: payload.into(),
            metadata,
            recorded_at,
            hash: Hash(hash),
        }
    }
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<StoredEvent, Error> {
    decoded(&shop(), Some(headers), body)
}

fn names(event: &StoredEvent) -> Vec<&'static str> {
    shop().attributes(event).into_iter().map(|(name, _)| name).collect()
}

/// As `events tail` or another program would write it.
fn structured(event: &StoredEvent) -> Bytes {
    let members: Vec<String> = shop()
        .attributes(event)
        .into_iter()
        .map(|(name, value)| format!("{}:{}", serde_json::Value::from(&name[3..]), serde_json::Value::from(value)))
        .chain([format!("\"data\":{}", String::from_utf8_lossy(&event.payload))])
        .collect();
    format!("{{{}}}", members.join(",")).into()
}

proptest! {
    #[test]
    fn a_message_gives_back_the_event_it_was_made_of(event in events()) {
        prop_assert_eq!(read(&encoded(&shop(), &event), &event.payload), Ok(event));
    }

    #[test]
    fn every_header_is_plain_ascii_on_one_line(event in events()) {
        let headers = encoded(&shop(), &event);
        for name in names(&event) {
            let value = headers.get(name).expect("it was written").as_str();
            prop_assert!(value.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"'), "{}: {:?}", name, value);
        }
    }

    #[test]
    fn a_subject_is_made_of_four_plain_parts_and_has_no_id(event in events()) {
        let subject = shop().subject(&event);
        let parts: Vec<&str> = subject.split('.').collect();
        prop_assert_eq!(parts.len(), 4, "{}", subject);
        prop_assert_eq!(&parts[..2], ["shop", "events"]);
        let plain = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        prop_assert!(parts.iter().all(plain), "{}", subject);
    }

    #[test]
    fn structured_mode_is_read_too(mut event in events()) {
        event.payload = Bytes::from_static(b"{ \"quantity\" : 2.50 }");
        prop_assert_eq!(decoded(&shop(), None, &structured(&event)), Ok(event));
    }

    #[test]
    fn a_missing_attribute_is_named(event in events(), which: prop::sample::Index) {
        let names: Vec<_> = names(&event)
            .into_iter()
            // These say what the event itself does not depend on, or may be missing.
            .filter(|name| !["ce-datacontenttype", "ce-dataschema", "ce-partitionkey", "ce-specversion", "ce-tracestate"].contains(name))
            .collect();
        let missing = *which.get(&names);
        let mut headers = HeaderMap::new();
        for (name, value) in shop().attributes(&event).into_iter().filter(|(name, _)| *name != missing) {
            headers.insert(name, value.replace(['\r', '\n', '%'], "_"));
        }
        let told = read(&headers, &event.payload);
        prop_assert!(matches!(&told, Err(Error::Undecodable { reason }) if reason.contains(missing)), "{:?}", told);
    }

    #[test]
    fn no_value_makes_the_decoder_panic(event in events(), which: prop::sample::Index, value in "[^\r\n]{0,40}") {
        let mut headers = encoded(&shop(), &event);
        headers.insert(*which.get(&names(&event)), value);
        let _ = read(&headers, &event.payload);
    }

    #[test]
    fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let told = decoded(&shop(), None, &body.into());
        let is_refused = matches!(told, Err(Error::Undecodable { .. }));
        prop_assert!(is_refused);
    }

    #[test]
    fn no_structured_message_that_was_cut_or_changed_makes_the_decoder_panic(
        event in events(), place: prop::sample::Index, change: u8, kept: prop::sample::Index,
    ) {
        let mut body = structured(&event).to_vec();
        let place = place.index(body.len());
        body[place] ^= change;
        body.truncate(kept.index(body.len() + 1));
        let _ = decoded(&shop(), None, &body.into());
    }
}

#[test]
fn what_another_application_wrote_is_refused() {
    let event = placed();
    for (name, value) in [
        ("ce-source", "/bank/order"),
        ("ce-source", "shop"),
        ("ce-type", "org.example.order.placed.v1"),
        ("ce-type", "com.example.shop.order.placed"),
        ("ce-specversion", "2.0"),
        ("ce-sequence", "0"),
        ("ce-sequence", "-3"),
        ("ce-loghash", "9f2c"),
        ("ce-traceparent", "00-ff-ff-01"),
        ("ce-time", "yesterday"),
        ("ce-subject", "%FF"),
    ] {
        let mut headers = encoded(&shop(), &event);
        headers.insert(name, value);
        let told = read(&headers, &event.payload);
        assert!(matches!(told, Err(Error::Undecodable { .. })), "{name}: {value} gives {told:?}");
    }
}

#[test]
fn the_headers_are_those_of_the_interface() {
    let event = placed();
    let headers = encoded(&shop(), &event);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "00000000-0000-0000-0000-000000000002"),
        ("ce-source", "/shop/order"),
        ("ce-type", "com.example.shop.order.placed.v1"),
        ("ce-subject", "o%201"),
        ("ce-time", "1970-01-01T00:00:00.000001Z"),
        ("ce-recordedtime", "1970-01-01T00:00:02Z"),
        ("ce-datacontenttype", "application/json"),
        ("ce-dataschema", "https://shop.example/schemas/order.placed.v1"),
        ("ce-partitionkey", "order/o%201"),
        ("ce-sequence", "00000000000000004711"),
        ("ce-traceparent", "00-0000000000000000000000000000000a-000000000000000b-01"),
        ("ce-streamversion", "3"),
        ("ce-tenant", "default"),
        ("ce-principal", "anonymous"),
        ("ce-commandevents", "1"),
    ] {
        assert_eq!(headers.get(name).map(|value| value.as_str()), Some(value), "{name}");
    }
    assert_eq!(shop().subject(&event), "shop.events.order.placed");
}

fn placed() -> StoredEvent {
    let id = Uuid::from_u128;
    StoredEvent {
        position: Position::new(4711).expect("not zero"),
        epoch: EpochId(id(1)),
        event_id: EventId(id(2)),
        stream: StreamId { tenant: Tenant::default(), aggregate: "order".into(), id: "o 1".into() },
        version: StreamVersion::new(3).expect("not zero"),
        event_type: EventType { name: "order.placed".into(), version: 1 },
        command_id: CommandId(id(3)),
        command_events: 1,
        payload: Bytes::from_static(b"{}"),
        metadata: Metadata {
            principal: Principal::default(),
            time: Timestamp::from_microsecond(1).expect("in range"),
            correlation: id(4),
            causation: id(5),
            trace: TraceContext { trace_id: 10, parent_id: 11, sampled: true },
            tracestate: None,
        },
        recorded_at: Timestamp::from_second(2).expect("in range"),
        hash: Hash([7; 32]),
    }
}
