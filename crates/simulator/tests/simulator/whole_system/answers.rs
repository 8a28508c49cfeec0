//! Somebody who asks for whole read models all the time, and what they were told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{Position, StoredEvent, Tenant};
use parking_lot::Mutex;
use query_database::{Generation, List, RowReader, SqliteQueryDatabase};
use runtime::{Runtime, Shutdown};

use crate::domain::{Fold, LEDGER, SLIPS};

/// The rows of the process's present life; nothing while it is down.
pub(super) type Rows = Arc<Mutex<Option<(u32, Arc<SqliteQueryDatabase>)>>>;

/// A read model as it was answered at one moment.
pub(super) struct Answer {
    life: u32,
    read_model: &'static str,
    generation: Generation,
    version: u32,
    position: Option<Position>,
    rows: BTreeMap<String, String>,
}

/// Asks until it is told to end.
pub(super) async fn ask(runtime: Runtime, rows: Rows, ends: Shutdown) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !ends.is_requested() {
        runtime.sleep(Duration::from_millis(runtime.random_u64() % 20)).await;
        let read_model = if runtime.random_u64().is_multiple_of(2) { LEDGER } else { SLIPS };
        let present = rows.lock().clone();
        let Some((life, rows)) = present else { continue };
        answers.extend(answer(life, &rows, read_model).await);
    }
    answers
}

/// Nothing where it serves nothing yet, where another generation began to serve in between, or where the process crashed.
async fn answer(life: u32, database: &SqliteQueryDatabase, read_model: &'static str) -> Option<Answer> {
    let serving = database.serving(read_model).await.ok()?;
    let list = List {
        generation: serving.generation,
        tenant: Tenant::default(),
        filters: Vec::new(),
        order: Vec::new(),
        after: None,
        rows_max: 100,
    };
    let read = database.list(read_model, list).await.ok()??;
    assert!(!read.more, "all rows fit into one page");
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("rows are text");
    Some(Answer {
        life,
        read_model,
        generation: read.checkpoint.generation,
        version: serving.read_model.version,
        position: read.checkpoint.position,
        rows: read.rows.into_iter().map(|row| (row.start.key, text(&row.body))).collect(),
    })
}

/// Each answer is one generation's fold of a prefix of the log by its own code, and no later one goes back; not in one life
/// of the process: a power cut may take rows with it. Returns how often another generation was seen to answer from then on.
pub(super) fn expect_folds(answers: &[Answer], events: &[Arc<StoredEvent>]) -> u32 {
    let mut switches = 0;
    for (index, answer) in answers.iter().enumerate() {
        let is_before = |other: &&Answer| (other.life, other.read_model) == (answer.life, answer.read_model);
        let Some(before) = answers[..index].iter().rev().find(is_before) else { continue };
        assert!(before.position <= answer.position, "an answer of {} went back", answer.read_model);
        switches += u32::from(before.generation != answer.generation);
    }
    let mut by_position: Vec<_> = answers.iter().collect();
    by_position.sort_by_key(|answer| answer.position);
    let mut folds = BTreeMap::new();
    for answer in by_position {
        let of = (answer.read_model, answer.version);
        let fold = folds.entry(of).or_insert_with(|| Fold::new(answer.read_model, answer.version));
        let count = usize::try_from(Position::count(answer.position)).expect("few events");
        assert!(count <= events.len(), "{of:?} was answered at {count}, the log ends at {}", events.len());
        assert_eq!(answer.rows, fold.after(events, count), "{of:?} as answered at {count}");
    }
    switches
}
