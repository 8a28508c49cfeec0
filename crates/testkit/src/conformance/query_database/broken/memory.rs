//! A database in memory: the contract in its plainest form, with a place for each fault.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{
    ConsistencyToken, Hash, IndexValue, Lineage, Position, ReadModel, RowChange, RowKey, RowWrite, Tenant, Verdict,
};
use query_database::{
    Checkpoint, Commit, CommitOutcome, Comparison, Direction, Error, Forked, Generation, GenerationStatus, HeadSeen,
    List, ListRead, ListedRow, Owned, OwnerToken, PageStart, PointRead, Row, RowReader, RowWriter, Serving,
};

use super::super::{
    Database, Subject,
    fixture::{MONEY, TIME, TRUTH},
};

macro_rules! faults {
    ($($fault:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fault { $($fault,)* }
    };
}

faults! {
    RowsDurableAfterTheirCheckpoint FromNotCompared OwnerNotCompared RowsBeforeTheComparison OldIndexColumnsKept
    DeleteIgnored FoldedRowsSorted BodySpelledAnew HoldOwnerNotCompared HeadOwnerNotCompared RowAndCheckpointReadApart
    PageAndCheckpointReadApart NoCheckpointWithoutRow TenantIgnored EmptyInsteadOfNotServing AgeForgotten
    FirstLineageKept HoldNeverReleased WaitsForAChange ChecksumNotComparedByPoint ChecksumNotComparedByRows
    ChecksumNotComparedByList ServingNotTold OldDeclarationServed ShapesForgotten ShapeNotCompared
    SwitchesBackward EmptyOnesNeverSwitch SwitchOwnerNotCompared AnyGenerationListed OldRowsDropped OnlyServingOnesShown
    TextIgnoresCase IntegersAsFloats MoneyAsText TimesByTheSecond TrueFirst NullsFirst KeysFollowTheLastDirection
    FormerLivesForgotten ForkedTaken ForkedOwnerNotFenced MarkNotCompared MarkNotTold MarkIgnoredBySwitch
    PositionsOfTwoHistoriesCompared EveryForkIsAnotherHistory SwitchesBeforeTheHead SwitchesBeyondAFork
    OneDirectionForAll KeysIgnoreCaseWithoutOrder PagingDropsTies MoreWheneverFull NullIsLess OnlyTheFirstFilter
}

#[derive(Clone)]
struct Stored {
    body: Bytes,
    index: Vec<IndexValue>,
    position: Position,
    /// What a checksum is for: the body as it was written.
    written: Bytes,
}

struct Build {
    read_model: Arc<ReadModel>,
    owner: u64,
    position: Option<Position>,
    hash: Hash,
    serving: bool,
    lineage: Arc<Lineage>,
    head: HeadSeen,
    held: Option<Arc<str>>,
    forked: Option<Arc<Lineage>>,
    rows: BTreeMap<RowKey, Stored>,
    rows_before: BTreeMap<RowKey, Stored>,
    forgotten: bool,
}

#[derive(Clone)]
pub(super) struct InMemory {
    fault: Option<Fault>,
    /// Generation 1 first.
    builds: Arc<Mutex<Vec<Build>>>,
    /// In the order in which they were first stored.
    lineages: Arc<Mutex<Vec<Arc<Lineage>>>>,
}

impl InMemory {
    pub(super) fn with(fault: Option<Fault>) -> Self {
        Self { fault, builds: Arc::default(), lineages: Arc::default() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn builds(&self) -> MutexGuard<'_, Vec<Build>> {
        self.builds.lock().expect("nobody panics with it")
    }

    fn key(&self, key: &RowKey) -> RowKey {
        let tenant = if self.has(Fault::TenantIgnored) { Tenant::default() } else { key.tenant.clone() };
        RowKey { tenant, ..key.clone() }
    }
}

impl Subject for InMemory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Database>> {
        for build in &mut *self.builds() {
            build.forgotten = self.has(Fault::ShapesForgotten);
            if self.has(Fault::RowsDurableAfterTheirCheckpoint) && build.position > Position::new(1) {
                build.rows = build.rows_before.clone();
            }
        }
        let database: Arc<dyn Database> = Arc::new(self.clone());
        Box::pin(async move { database })
    }

    fn damage<'a>(&'a self, generation: Generation, key: &'a RowKey) -> BoxFuture<'a, ()> {
        let mut builds = self.builds();
        let rows = &mut of(&mut builds, generation).rows;
        rows.get_mut(key).expect("the row is stored").body = Bytes::from_static(b"damaged");
        Box::pin(async {})
    }
}

fn of(builds: &mut [Build], generation: Generation) -> &mut Build {
    &mut builds[usize::try_from(generation.0).expect("few generations") - 1]
}

fn number(index: usize) -> Generation {
    Generation(index as u64 + 1)
}

impl InMemory {
    fn take_one(&self, read_model: Arc<ReadModel>) -> Owned {
        let mut builds = self.builds();
        let same = |build: &Build| {
            build.read_model.name == read_model.name
                && build.read_model.version == read_model.version
                && (build.read_model.shape == read_model.shape || self.has(Fault::ShapeNotCompared))
                && !build.forgotten
                && (build.forked.is_none() || self.has(Fault::ForkedTaken))
        };
        let index = match builds.iter().rposition(same) {
            Some(index) => index,
            None => {
                let serving = !builds.iter().any(|build| build.read_model.name == read_model.name && build.serving);
                builds.push(Build::new(read_model, serving));
                builds.len() - 1
            }
        };
        let build = &mut builds[index];
        build.owner += 1;
        let serving = build.serving && !self.has(Fault::ServingNotTold);
        let owner = OwnerToken(build.owner);
        Owned { generation: number(index), owner, position: build.position, hash: build.hash, serving }
    }

    fn commit_one(&self, commit: &Commit) -> CommitOutcome {
        let mut builds = self.builds();
        let build = of(&mut builds, commit.generation);
        let before = build.rows.clone();
        if self.has(Fault::RowsBeforeTheComparison) {
            self.write(build, &commit.rows);
        }
        let open = build.forked.is_none() || self.has(Fault::ForkedOwnerNotFenced);
        let owned = open && (build.owner == commit.owner.0 || self.has(Fault::OwnerNotCompared));
        // With this fault only a checkpoint that would go backwards is noticed.
        let fits = build.position == commit.from
            || (self.has(Fault::FromNotCompared) && Some(commit.to) > build.position && commit.from < Position::new(5));
        if !owned || !fits {
            return CommitOutcome::Fenced;
        }
        self.write(build, &commit.rows);
        build.rows_before = before;
        (build.position, build.hash, build.head) = (Some(commit.to), commit.hash, commit.head);
        if !self.has(Fault::FirstLineageKept) || build.lineage.0.is_empty() {
            build.lineage = commit.lineage.clone();
        }
        self.store(&commit.lineage);
        CommitOutcome::Stored
    }

    fn store(&self, lineage: &Arc<Lineage>) {
        let mut lineages = self.lineages.lock().expect("nobody panics with it");
        if !lineages.contains(lineage) {
            lineages.push(lineage.clone());
        }
    }

    /// The lineage with what those stored before it had.
    fn remembered(&self, lineage: &Arc<Lineage>) -> Arc<Lineage> {
        let lineages = self.lineages.lock().expect("nobody panics with it");
        let before = lineages.iter().take_while(|stored| *stored != lineage).map(|stored| &**stored);
        let none = self.has(Fault::FormerLivesForgotten);
        Arc::new(lineage.remembering(before.filter(|_| !none)))
    }

    fn mark(&self, forked: &Forked) -> bool {
        let mut builds = self.builds();
        let build = of(&mut builds, forked.generation);
        let is_the_same = build.position == Some(forked.position) && build.hash == forked.hash;
        if !is_the_same && !self.has(Fault::MarkNotCompared) {
            return false;
        }
        build.forked = Some(forked.lineage.clone());
        self.store(&forked.lineage);
        true
    }

    fn may_replace(&self, next: &Build, serving: &Build) -> bool {
        let is_older = next.lineage.is_continued_by(&serving.lineage);
        let log = if is_older { &serving.lineage } else { &next.lineage };
        if next.is_beyond_a_fork_of(log) && !self.has(Fault::SwitchesBeyondAFork) {
            return false;
        }
        let is_marked = serving.forked.is_some() && !self.has(Fault::MarkIgnoredBySwitch);
        let is_beyond = serving.is_beyond_a_fork_of(log) && !self.has(Fault::PositionsOfTwoHistoriesCompared);
        let lineages_differ = next.lineage != serving.lineage;
        if is_marked || is_beyond || (lineages_differ && self.has(Fault::EveryForkIsAnotherHistory)) {
            let has_all = !next.lineage.0.is_empty() && next.position >= next.head.position;
            return has_all || self.has(Fault::SwitchesBeforeTheHead);
        }
        next.position >= serving.position || (!lineages_differ && self.has(Fault::SwitchesBackward))
    }

    fn write(&self, build: &mut Build, rows: &[RowWrite]) {
        for row in rows {
            let key = self.key(&row.key);
            match &row.change {
                RowChange::Put { body, index } => {
                    let mut stored = Stored::new(self.spelled(body), index, row.position);
                    if let Some(old) = build.rows.get(&key).filter(|_| self.has(Fault::OldIndexColumnsKept)) {
                        stored.index.clone_from(&old.index);
                    }
                    build.rows.insert(key, stored);
                }
                RowChange::Delete if self.has(Fault::DeleteIgnored) => {}
                RowChange::Delete => drop(build.rows.remove(&key)),
            }
        }
    }

    fn spelled(&self, body: &str) -> Bytes {
        match serde_json::from_str::<serde_json::Value>(body) {
            Ok(value) if self.has(Fault::BodySpelledAnew) => value.to_string().into(),
            _ => body.to_owned().into(),
        }
    }

    fn serving_index(&self, read_model: &str) -> Result<usize, Error> {
        let serving = |build: &Build| build.read_model.name == read_model && build.serving;
        self.builds().iter().position(serving).ok_or_else(|| {
            if self.has(Fault::EmptyInsteadOfNotServing) {
                return Error::NoGeneration { generation: Generation(0) };
            }
            Error::NotServing { read_model: read_model.to_owned() }
        })
    }

    fn checkpoint_of(&self, index: usize) -> Checkpoint {
        let build = &self.builds()[index];
        let mut head = build.head;
        if self.has(Fault::AgeForgotten) {
            head.age = std::time::Duration::ZERO;
        }
        Checkpoint {
            generation: number(index),
            position: build.position,
            lineage: self.remembered(&build.lineage),
            head,
            held: build.held.clone(),
            forked: build.forked.as_ref().filter(|_| !self.has(Fault::MarkNotTold)).map(|log| self.remembered(log)),
        }
    }
}

impl Build {
    fn new(read_model: Arc<ReadModel>, serving: bool) -> Self {
        Self {
            read_model,
            owner: 0,
            position: None,
            hash: Hash::default(),
            serving,
            lineage: Arc::default(),
            head: HeadSeen { position: None, age: std::time::Duration::ZERO },
            held: None,
            forked: None,
            rows: BTreeMap::new(),
            rows_before: BTreeMap::new(),
            forgotten: false,
        }
    }

    fn is_beyond_a_fork_of(&self, log: &Lineage) -> bool {
        let Some(position) = self.position else { return false };
        let epoch = self.lineage.epoch_of(position);
        epoch.is_some_and(|epoch| log.judge(&ConsistencyToken { epoch, position }) != Verdict::Reach(position))
    }
}

impl Stored {
    fn new(body: Bytes, index: &[IndexValue], position: Position) -> Self {
        Self { written: body.clone(), body, index: index.to_vec(), position }
    }

    fn sound(&self, read_model: &str, key: &RowKey) -> Result<(), Error> {
        if self.body == self.written {
            return Ok(());
        }
        Err(Error::Corrupt { read_model: read_model.to_owned(), key: key.key.to_string() })
    }
}

impl RowWriter for InMemory {
    fn take(&self, read_model: Arc<ReadModel>) -> BoxFuture<'_, Result<Owned, Error>> {
        Box::pin(async move { Ok(self.take_one(read_model)) })
    }

    fn mark_forked(&self, forked: Forked) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { Ok(self.mark(&forked)) })
    }

    fn rows(&self, generation: Generation, mut keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Error>> {
        Box::pin(async move {
            if self.has(Fault::FoldedRowsSorted) {
                keys.sort();
            }
            let mut builds = self.builds();
            let build = of(&mut builds, generation);
            let row = |key: &RowKey| match build.rows.get(&self.key(key)) {
                None => Ok(None),
                Some(row) => {
                    if !self.has(Fault::ChecksumNotComparedByRows) {
                        row.sound(&build.read_model.name, key)?;
                    }
                    Ok(Some(row.body.clone()))
                }
            };
            keys.iter().map(row).collect()
        })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.commit_one(&commit))
        })
    }

    fn filled(&self, _generation: Generation) {}

    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut builds = self.builds();
            for (generation, owner) in owned {
                let build = of(&mut builds, generation);
                if build.owner == owner.0 || self.has(Fault::HeadOwnerNotCompared) {
                    (build.lineage, build.head) = (lineage.clone(), head);
                    self.store(&lineage);
                }
            }
            Ok(())
        })
    }

    fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        Box::pin(async move {
            let mut builds = self.builds();
            let build = of(&mut builds, generation);
            let open = build.forked.is_none() || self.has(Fault::ForkedOwnerNotFenced);
            if !open || (build.owner != owner.0 && !self.has(Fault::HoldOwnerNotCompared)) {
                return Ok(CommitOutcome::Fenced);
            }
            if reason.is_some() || !self.has(Fault::HoldNeverReleased) {
                build.held = reason.map(Arc::from);
            }
            Ok(CommitOutcome::Stored)
        })
    }

    fn switch(&self, generation: Generation, owner: OwnerToken) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let mut builds = self.builds();
            let build = of(&mut builds, generation);
            if build.owner != owner.0 && !self.has(Fault::SwitchOwnerNotCompared) {
                return Ok(false);
            }
            let name = build.read_model.name.clone();
            let is_serving = |build: &Build| build.read_model.name == name && build.serving;
            let at = builds.iter().position(is_serving).expect("the first one serves at once");
            let index = usize::try_from(generation.0).expect("few generations") - 1;
            let is_empty = builds[index].position.or(builds[at].position).is_none();
            if (is_empty && self.has(Fault::EmptyOnesNeverSwitch)) || !self.may_replace(&builds[index], &builds[at]) {
                return Ok(false);
            }
            let serving = &mut builds[at];
            serving.serving = false;
            if self.has(Fault::OldRowsDropped) {
                serving.rows.clear();
            }
            of(&mut builds, generation).serving = true;
            Ok(true)
        })
    }

    fn generations(&self) -> BoxFuture<'_, Result<Vec<GenerationStatus>, Error>> {
        Box::pin(async move {
            let builds = self.builds();
            let shown = builds.iter().enumerate().map(|(index, build)| GenerationStatus {
                read_model: build.read_model.name.clone(),
                version: build.read_model.version,
                generation: number(index),
                serving: build.serving,
                position: build.position,
                hash: build.hash,
                held: build.held.as_deref().map(str::to_owned),
                forked: build.forked.is_some() && !self.has(Fault::MarkNotTold),
                head_age: if self.has(Fault::AgeForgotten) { std::time::Duration::ZERO } else { build.head.age },
            });
            Ok(shown.filter(|shown| shown.serving || !self.has(Fault::OnlyServingOnesShown)).collect())
        })
    }
}

impl RowReader for InMemory {
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>> {
        let serving = self.serving_index(read_model).map(|index| {
            let declared = if self.has(Fault::OldDeclarationServed) { 0 } else { index };
            Serving { generation: number(index), read_model: self.builds()[declared].read_model.clone() }
        });
        Box::pin(async move { serving })
    }

    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>> {
        Box::pin(async move {
            let index = self.serving_index(read_model)?;
            let mut checkpoint = self.checkpoint_of(index);
            if self.has(Fault::RowAndCheckpointReadApart) {
                tokio::task::yield_now().await;
            }
            let stored = self.builds()[index].rows.get(&self.key(key)).cloned();
            if let Some(stored) = &stored
                && !self.has(Fault::ChecksumNotComparedByPoint)
            {
                stored.sound(read_model, key)?;
            }
            if stored.is_none() && self.has(Fault::NoCheckpointWithoutRow) {
                checkpoint.position = None;
            }
            let row = stored.map(|stored| Row { body: stored.body, position: stored.position });
            Ok(PointRead { row, checkpoint })
        })
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move { Ok(self.checkpoint_of(self.serving_index(read_model)?)) })
    }

    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>> {
        Box::pin(async move {
            let index = self.serving_index(read_model)?;
            if number(index) != list.generation && !self.has(Fault::AnyGenerationListed) {
                return Ok(None);
            }
            let checkpoint = self.checkpoint_of(index);
            if self.has(Fault::PageAndCheckpointReadApart) {
                tokio::task::yield_now().await;
            }
            let (rows, more) = self.page(read_model, index, &list)?;
            Ok(Some(ListRead { rows, more, checkpoint }))
        })
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        if self.has(Fault::WaitsForAChange) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async {})
    }
}

impl InMemory {
    fn page(&self, read_model: &str, index: usize, list: &List) -> Result<(Vec<ListedRow>, bool), Error> {
        let builds = self.builds();
        let wanted = self.key(&RowKey { tenant: list.tenant.clone(), key: "".into() }).tenant;
        let mut rows = Vec::new();
        for (key, stored) in builds[index].rows.iter().filter(|(key, _)| key.tenant == wanted) {
            if !self.has(Fault::ChecksumNotComparedByList) {
                stored.sound(read_model, key)?;
            }
            let values = list.order.iter().map(|(place, _)| stored.index[*place].clone()).collect();
            let start = PageStart { values, key: key.key.to_string() };
            let filters =
                if self.has(Fault::OnlyTheFirstFilter) { list.filters.get(..1) } else { Some(&list.filters[..]) };
            let fits = filters
                .unwrap_or_default()
                .iter()
                .all(|filter| self.holds(&stored.index[filter.index], &filter.comparison));
            if fits && list.after.as_ref().is_none_or(|after| self.comes_after(&start, after, list)) {
                rows.push(ListedRow { body: stored.body.clone(), start });
            }
        }
        rows.sort_by(|one, other| self.compare(&one.start, &other.start, list));
        let more = rows.len() > list.rows_max || (self.has(Fault::MoreWheneverFull) && rows.len() == list.rows_max);
        rows.truncate(list.rows_max);
        Ok((rows, more))
    }

    fn comes_after(&self, start: &PageStart, after: &PageStart, list: &List) -> bool {
        if self.has(Fault::PagingDropsTies) && !list.order.is_empty() && start.values == after.values {
            return false;
        }
        self.compare(start, after, list) == Ordering::Greater
    }

    fn compare(&self, one: &PageStart, other: &PageStart, list: &List) -> Ordering {
        for (number, (place, direction)) in list.order.iter().enumerate() {
            let direction = if self.has(Fault::OneDirectionForAll) { list.order[0].1 } else { *direction };
            let ordering = self.compare_values(*place, direction, &one.values[number], &other.values[number]);
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        if list.order.is_empty() && self.has(Fault::KeysIgnoreCaseWithoutOrder) {
            return one.key.to_lowercase().cmp(&other.key.to_lowercase());
        }
        let ordering = one.key.cmp(&other.key);
        match list.order.last() {
            Some((_, Direction::Desc)) if self.has(Fault::KeysFollowTheLastDirection) => ordering.reverse(),
            _ => ordering,
        }
    }

    fn compare_values(&self, place: usize, direction: Direction, one: &IndexValue, other: &IndexValue) -> Ordering {
        let nulls_first = self.has(Fault::NullsFirst);
        let ascending = match (one, other) {
            (IndexValue::Null, IndexValue::Null) => return Ordering::Equal,
            (IndexValue::Null, _) => return if nulls_first { Ordering::Less } else { Ordering::Greater },
            (_, IndexValue::Null) => return if nulls_first { Ordering::Greater } else { Ordering::Less },
            (IndexValue::Text(one), IndexValue::Text(other)) if self.has(Fault::TextIgnoresCase) => {
                one.to_lowercase().cmp(&other.to_lowercase())
            }
            (IndexValue::Integer(one), IndexValue::Integer(other)) => self.compare_numbers(place, *one, *other),
            _ => one_text(one).cmp(one_text(other)),
        };
        if direction == Direction::Desc { ascending.reverse() } else { ascending }
    }

    #[expect(clippy::cast_precision_loss, reason = "that is the fault")]
    fn compare_numbers(&self, place: usize, one: i64, other: i64) -> Ordering {
        match (self.fault, place) {
            (Some(Fault::IntegersAsFloats), _) => (one as f64).total_cmp(&(other as f64)),
            (Some(Fault::MoneyAsText), MONEY) => one.to_string().cmp(&other.to_string()),
            (Some(Fault::TimesByTheSecond), TIME) => (one / 1_000_000).cmp(&(other / 1_000_000)),
            (Some(Fault::TrueFirst), TRUTH) => other.cmp(&one),
            _ => one.cmp(&other),
        }
    }

    fn holds(&self, value: &IndexValue, comparison: &Comparison) -> bool {
        let ordering = |other: &IndexValue| match (value, other) {
            (IndexValue::Integer(value), IndexValue::Integer(other)) => Some(value.cmp(other)),
            (IndexValue::Text(value), IndexValue::Text(other)) => Some(value.cmp(other)),
            (IndexValue::Null, IndexValue::Integer(_)) if self.has(Fault::NullIsLess) => Some(Ordering::Less),
            _ => None,
        };
        match comparison {
            Comparison::Eq(other) => value == other,
            Comparison::Neq(other) => value != other,
            Comparison::Gt(other) => ordering(other).is_some_and(Ordering::is_gt),
            Comparison::Gte(other) => ordering(other).is_some_and(Ordering::is_ge),
            Comparison::Lt(other) => ordering(other).is_some_and(Ordering::is_lt),
            Comparison::Lte(other) => ordering(other).is_some_and(Ordering::is_le),
            Comparison::In(others) => others.contains(value),
            Comparison::IsNull => *value == IndexValue::Null,
        }
    }
}

fn one_text(value: &IndexValue) -> &str {
    match value {
        IndexValue::Text(text) => text,
        _ => "",
    }
}
