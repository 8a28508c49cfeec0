use bytes::Bytes;
use command_database::{Content, chain, digest, verify_link};
use jiff::Timestamp;
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use uuid::Uuid;

const COMMAND: Uuid = Uuid::from_u128(0x0199_ab10_5c1f_7000_8000_0000_0000_0001);

fn event() -> StoredEvent {
    StoredEvent {
        position: Position::FIRST.plus(6),
        epoch: EpochId(Uuid::from_u128(0x0199_ab10_5c1f_7000_9000_0000_0000_0000)),
        event_id: EventId::derived(CommandId(COMMAND), 0),
        stream: StreamId { tenant: Tenant::default(), aggregate: "order".into(), id: "o-1".into() },
        version: StreamVersion::FIRST.plus(2),
        event_type: EventType { name: "order.placed".into(), version: 1 },
        command_id: CommandId(COMMAND),
        command_events: 2,
        payload: Bytes::from_static(b"{\"customer\":\"c-7\"}"),
        metadata: Metadata {
            principal: Principal::default(),
            time: Timestamp::from_microsecond(1_700_000_000_000_001).expect("within range"),
            correlation: COMMAND,
            causation: Uuid::from_u128(0x0199_ab10_5c1f_7000_8000_0000_0000_00ff),
            trace: TraceContext {
                trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
                parent_id: 0x00f0_67aa_0ba9_02b7,
                sampled: true,
            },
            tracestate: Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".into()),
        },
        recorded_at: Timestamp::from_microsecond(1_700_000_000_000_002).expect("within range"),
        hash: Hash::default(),
    }
}

/// The bytes were put together and hashed by another program, from the layout's description alone.
#[test]
fn the_bytes_of_the_chain_are_fixed() {
    let with_state = event();
    let mut without_state = event();
    without_state.metadata.tracestate = None;
    for (mut event, digested, hash) in [
        (
            with_state,
            "9bcaf20c3362cce551bd1cf2220692e899e7dd78dab937e687bcfed23f0eb41c",
            "725c77b227e71178ab5c3bb4fa8ef0dd40e538c29ad90bac75a19610b4eb7dbb",
        ),
        (
            without_state,
            "af2f67667670d888a3bd3e7ab5686db898e1c1b8a117cb24153cb917ae664931",
            "84a635032ea5afdfa4169fc5bb2d3b3dc3312acd152793261aa4e9bf7ef599b2",
        ),
    ] {
        let digest = digest(&Content::from(&event));
        assert_eq!(digest.to_string(), digested);
        let previous = Hash([0x11; 32]);
        let recorded_at = event.recorded_at.as_microsecond();
        event.hash = chain(&previous, event.epoch, event.position, event.version, recorded_at, &digest);
        assert_eq!(event.hash.to_string(), hash);
        assert!(verify_link(&previous, &event));
        assert!(!verify_link(&Hash::default(), &event));
    }
}

#[test]
fn every_part_of_an_event_is_in_its_hash() {
    let previous = Hash::default();
    let mut whole = event();
    let digest = digest(&Content::from(&whole));
    let recorded_at = whole.recorded_at.as_microsecond();
    whole.hash = chain(&previous, whole.epoch, whole.position, whole.version, recorded_at, &digest);
    let changes: [fn(&mut StoredEvent); 22] = [
        |event| event.position = event.position.next(),
        |event| event.epoch = EpochId(Uuid::nil()),
        |event| event.event_id = EventId(Uuid::nil()),
        |event| event.stream.tenant = Tenant::new("other"),
        |event| event.stream.aggregate = "orders".into(),
        |event| event.stream.id = "o-2".into(),
        |event| event.version = event.version.next(),
        |event| event.event_type.name = "order.paid".into(),
        |event| event.event_type.version = 2,
        |event| event.command_id = CommandId(Uuid::nil()),
        |event| event.command_events = 3,
        |event| event.payload = Bytes::from_static(b"{\"customer\":\"c-8\"}"),
        |event| event.metadata.principal = Principal::new("someone"),
        |event| event.metadata.time = event.recorded_at,
        |event| event.metadata.correlation = Uuid::nil(),
        |event| event.metadata.causation = Uuid::nil(),
        |event| event.metadata.trace.trace_id += 1,
        |event| event.metadata.trace.parent_id += 1,
        |event| event.metadata.trace.sampled = false,
        |event| event.metadata.tracestate = Some("rojo=00f067aa0ba902b7".into()),
        |event| event.metadata.tracestate = None,
        |event| event.recorded_at = event.metadata.time,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = whole.clone();
        change(&mut changed);
        assert!(verify_link(&previous, &whole) && !verify_link(&previous, &changed), "change {number}");
    }
}

#[test]
fn no_part_can_lend_bytes_to_its_neighbour() {
    let (mut one, mut other) = (event(), event());
    (one.stream.aggregate, one.stream.id) = ("order".into(), "so-1".into());
    (other.stream.aggregate, other.stream.id) = ("orders".into(), "o-1".into());
    assert_ne!(digest(&Content::from(&one)), digest(&Content::from(&other)));
}
