//! The lock file of stored shapes and folds: changed code without a new version fails a test.
//!
//! Events stay in a log for ever, and rows and snapshots outlive the process that made them. The lock file says which shapes
//! and which results the code had when it was last agreed to: the shape of each event, state and row, and hashes of what
//! each aggregate and each projection makes of a kept corpus of events. An application checks it in a test:
//!
//! ```no_run
//! # fn domain() -> model::Registry { model::Registry::new() }
//! testkit::lock::check(&domain(), "tests/domain.lock.json", "tests/corpus.ndjson");
//! ```
//!
//! The corpus has one event a line, of every type and version that the application can read:
//!
//! ```json
//! {"aggregate": "order", "id": "o-1", "type": "order.placed", "version": 1, "payload": {"customer": "c-7"}}
//! ```
//!
//! Events are added at its end; those that the lock file has seen stay as they are, so that old and new results compare.
//! Both files belong under version control.

mod content;
mod corpus;

use std::{collections::BTreeMap, fmt::Debug, path::Path, sync::Arc};

use model::{Recorded, Registry};
use serde_json::Value;

use self::{
    content::{AggregateLock, CorpusLock, Lock, ReadModelLock},
    corpus::Corpus,
};

/// When set to anything, [`check`] writes what has changed under a new version, and what is new, to the lock file.
pub const UPDATE_VARIABLE: &str = "DIPTYCH_UPDATE_LOCK";

/// Compares the domain with the lock file. Paths are taken from the crate's folder, in which Cargo runs tests.
///
/// # Panics
/// When a stored shape or a result over the corpus has changed under the same version; no variable makes that pass. When the
/// lock file does not know a new version or a new declaration yet; [`UPDATE_VARIABLE`] then writes it. When an event type
/// does not occur in the corpus. The message says what to do.
#[track_caller]
pub fn check(domain: &Registry, lock: impl AsRef<Path>, corpus: impl AsRef<Path>) {
    let mode = if std::env::var_os(UPDATE_VARIABLE).is_some() { Mode::Update } else { Mode::Check };
    if let Err(reason) = run(domain, lock.as_ref(), corpus.as_ref(), mode) {
        panic!("{reason}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Check,
    Update,
}

fn run(domain: &Registry, path: &Path, corpus: &Path, mode: Mode) -> Result<(), String> {
    let corpus = Corpus::read(corpus)?;
    complete(domain, &corpus)?;
    let mut now = content(domain, &corpus, corpus.events.len())?;
    let locked = read(path)?;
    if let Some(locked) = &locked {
        let kept = kept(&corpus, locked)?;
        let refused = refusals(locked, &content(domain, &corpus, kept)?);
        if !refused.is_empty() {
            return Err(format!("{} does not allow this change:\n- {}", path.display(), refused.join("\n- ")));
        }
        carry_over(&mut now, locked);
    }
    if locked.as_ref() == Some(&now) {
        return Ok(());
    }
    match mode {
        Mode::Update => write(path, &now),
        Mode::Check => Err(format!(
            "{} does not know what is new in the domain or its corpus: run the test again with {UPDATE_VARIABLE}=1 and \
             commit the file",
            path.display()
        )),
    }
}

/// Every event type that can be read has an event in the corpus.
fn complete(domain: &Registry, corpus: &Corpus) -> Result<(), String> {
    let missing = domain.event_types().filter(|event_type| !corpus.contains(event_type));
    let missing: Vec<String> = missing.map(|event_type| event_type.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the corpus has no event of type {}: add one at its end", missing.join(", ")))
}

/// What the domain makes of the first `count` events of the corpus.
fn content(domain: &Registry, corpus: &Corpus, count: usize) -> Result<Lock, String> {
    let events = &corpus.events[..count];
    let recorded: Vec<Arc<Recorded>> = events
        .iter()
        .map(|event| match domain.decode(event.clone()) {
            Ok(recorded) => Ok(Arc::new(recorded)),
            Err(error) => Err(format!("cannot read event {} of the corpus: {}", event.position, chain(&error))),
        })
        .collect::<Result<_, _>>()?;
    let aggregates = domain
        .aggregates()
        .map(|aggregate| Ok((aggregate.name().to_owned(), content::aggregate(aggregate.as_ref(), events)?)));
    let read_models = domain.projections().map(|projection| {
        Ok((projection.read_model().name.clone(), content::read_model(projection.as_ref(), &recorded)?))
    });
    Ok(Lock {
        corpus: CorpusLock { events: count, hash: corpus.hash_of_first(count).unwrap_or_default() },
        aggregates: aggregates.collect::<Result<_, String>>()?,
        events: content::event_shapes(domain),
        read_models: read_models.collect::<Result<_, String>>()?,
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// How many events of the corpus the lock file was made over, if they are still the same.
fn kept(corpus: &Corpus, locked: &Lock) -> Result<usize, String> {
    let count = locked.corpus.events;
    if corpus.hash_of_first(count).as_ref() == Some(&locked.corpus.hash) {
        Ok(count)
    } else {
        Err(format!(
            "the first {count} events of the corpus are locked and have changed: undo that, and add new ones at the end"
        ))
    }
}

/// What changed although its version did not. `now` is made over the same events as `locked`.
fn refusals(locked: &Lock, now: &Lock) -> Vec<String> {
    let mut refused = Vec::new();
    for (name, before) in &locked.events {
        refused.extend(event_refusal(name, before, now.events.get(name)));
    }
    for (name, before) in &locked.aggregates {
        refused.extend(now.aggregates.get(name).and_then(|after| aggregate_refusal(name, before, after)));
    }
    for (name, before) in &locked.read_models {
        refused.extend(now.read_models.get(name).and_then(|after| read_model_refusal(name, before, after)));
    }
    refused
}

fn event_refusal(name: &str, before: &Value, after: Option<&Value>) -> Option<String> {
    // An event without a shape is one that an upcast still reads: were there none, reading the corpus would have failed.
    (after? != before).then(|| {
        format!(
            "the shape of event {name} has changed: raise its version in `events()` and add an upcast from this one, or \
             undo the change"
        )
    })
}

fn aggregate_refusal(name: &str, before: &AggregateLock, after: &AggregateLock) -> Option<String> {
    let changed = changed([
        ("the shape of its state", before.state != after.state),
        ("what its events evolve it to", before.evolved != after.evolved),
    ]);
    versioned("aggregate", name, "STATE_VERSION", (before.state_version, after.state_version), &changed)
}

fn read_model_refusal(name: &str, before: &ReadModelLock, after: &ReadModelLock) -> Option<String> {
    let changed = changed([
        ("the shape of its rows", before.row != after.row),
        ("its indexes", before.indexes != after.indexes),
        ("what its events are folded to", before.folded != after.folded),
    ]);
    versioned("projection", name, "VERSION", (before.version, after.version), &changed)
}

fn changed<const N: usize>(parts: [(&'static str, bool); N]) -> Vec<&'static str> {
    parts.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| what).collect()
}

fn versioned<V: PartialOrd + Debug>(
    what: &str,
    name: &str,
    constant: &str,
    (before, after): (V, V),
    changed: &[&str],
) -> Option<String> {
    if after < before {
        return Some(format!(
            "{constant} of {what} {name} went from {before:?} back to {after:?}: raise it above {before:?}"
        ));
    }
    if after > before || changed.is_empty() {
        return None;
    }
    let changed = changed.join(" and ");
    Some(format!("{what} {name}, {constant} {before:?}: {changed} changed: raise {constant}, or undo the change"))
}

/// Shapes of events that are only read any more stay locked: no type says them now.
fn carry_over(now: &mut Lock, locked: &Lock) {
    let older: BTreeMap<_, _> = locked.events.iter().filter(|(name, _)| !now.events.contains_key(*name)).collect();
    now.events.extend(older.into_iter().map(|(name, shape)| (name.clone(), shape.clone())));
}

fn read(path: &Path) -> Result<Option<Lock>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
            format!("cannot read the lock file {}: {error}: restore it from version control", path.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read the lock file {}: {error}", path.display())),
    }
}

fn write(path: &Path, lock: &Lock) -> Result<(), String> {
    let failed = |reason: String| format!("cannot write the lock file {}: {reason}", path.display());
    let mut text = serde_json::to_string_pretty(lock).map_err(|error| failed(error.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
