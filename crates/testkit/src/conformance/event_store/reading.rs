use std::sync::Arc;

use command_database::ReadLimit;
use model::{Hash, StreamVersion};

use super::{Checked, Store, Subject, declare, ensure, request::stream};

declare![
    reading_on_misses_and_repeats_nothing,
    a_read_keeps_to_the_number_of_events,
    a_read_keeps_to_the_bytes_but_returns_something,
    the_head_is_the_end_of_the_log,
    a_stream_is_read_in_order_from_any_version,
    a_long_stream_is_read_in_pieces,
];

/// Five events of ten bytes.
async fn five(subject: &Subject<'_>) -> Result<Store, String> {
    let store = subject.open().await;
    for number in 0..5 {
        store.accept(subject.request("a").event(format!("{number:010}"))).await?;
    }
    Ok(store)
}

async fn reading_on_misses_and_repeats_nothing(subject: &Subject<'_>) -> Checked {
    let store = five(subject).await?;
    let whole = store.log().await?;
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let limit = ReadLimit { events_max: 2, ..ReadLimit::default() };
        let events = store.store.read(after, limit).await.map_err(|error| error.to_string())?;
        if events.is_empty() {
            break;
        }
        after = events.last().map(|event| event.position);
        read.extend(events.into_iter().map(Arc::unwrap_or_clone));
        ensure!(read.len() <= whole.len(), "events come twice");
    }
    ensure!(read == whole, "{} of {} events, or others", read.len(), whole.len());
    Ok(())
}

async fn a_read_keeps_to_the_number_of_events(subject: &Subject<'_>) -> Checked {
    let store = five(subject).await?;
    for most in [1, 3] {
        let limit = ReadLimit { events_max: most, ..ReadLimit::default() };
        let events = store.store.read(None, limit).await.map_err(|error| error.to_string())?;
        ensure!(events.len() == most, "{} events, the limit is {most}", events.len());
    }
    Ok(())
}

async fn a_read_keeps_to_the_bytes_but_returns_something(subject: &Subject<'_>) -> Checked {
    let store = five(subject).await?;
    for (bytes_max, expected) in [(0, 1), (5, 1), (10, 1), (11, 2), (1000, 5)] {
        let limit = ReadLimit { bytes_max, ..ReadLimit::default() };
        let events = store.store.read(None, limit).await.map_err(|error| error.to_string())?;
        ensure!(events.len() == expected, "{} events of 10 bytes, the limit is {bytes_max}", events.len());
    }
    Ok(())
}

async fn the_head_is_the_end_of_the_log(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let head = store.head().await?;
    ensure!((head.position, head.hash) == (None, Hash::default()), "of an empty log: {head:?}");
    for _ in 0..3 {
        store.append([subject.request("a").event("1"), subject.request("b").event("2")]).await?;
        let head = store.head().await?;
        let log = store.log().await?;
        let last = log.last().map(|event| (event.position, event.hash, event.epoch));
        ensure!(last == head.position.map(|at| (at, head.hash, head.epoch)), "{head:?}, the log ends at {last:?}");
    }
    Ok(())
}

async fn a_stream_is_read_in_order_from_any_version(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    for _ in 0..4 {
        store.append([subject.request("a").event("1"), subject.request("b").event("2")]).await?;
    }
    let whole: Vec<_> = store.log().await?.into_iter().filter(|event| event.stream == stream("a")).collect();
    for after in 0..=whole.len() {
        let from = StreamVersion::new(after as u64);
        let read = store.store.read_stream(stream("a"), from, ReadLimit::default()).await;
        let read = read.map_err(|error| error.to_string())?;
        ensure!(read == whole[after..], "after version {after}: {read:?}");
    }
    let none = store.stream(stream("nobody's")).await?;
    ensure!(none.is_empty(), "a stream that does not exist has {none:?}");
    Ok(())
}

async fn a_long_stream_is_read_in_pieces(subject: &Subject<'_>) -> Checked {
    const EVENTS: u64 = 700;
    let store = subject.open().await;
    for _ in 0..EVENTS / 100 {
        let hundred = (0..100).fold(subject.request("long"), |request, _| request.event("1"));
        store.append([hundred, subject.request("other").event("2")]).await?;
    }
    for (after, most) in [(0, 100), (1, 255), (255, 1), (256, 256), (300, 1000), (699, 5), (700, 5)] {
        let limit = ReadLimit { events_max: most, ..ReadLimit::default() };
        let read = store.store.read_stream(stream("long"), StreamVersion::new(after), limit).await;
        let read = read.map_err(|error| error.to_string())?;
        let versions: Vec<_> = read.iter().map(|event| event.version.get()).collect();
        let expected: Vec<_> = (after + 1..=EVENTS.min(after + most as u64)).collect();
        ensure!(versions == expected, "{most} after {after}: {versions:?}");
    }
    Ok(())
}
