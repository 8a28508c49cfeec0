//! A read model that the suite writes as an Event Handler would, and short words for queries.

use std::{sync::Arc, time::Duration};

use model::{
    ConsistencyToken, Epoch, EpochId, Field, FieldKind, Hash, Index, IndexKind, IndexValue, Lineage, Position,
    ReadModel, RowChange, RowKey, RowWrite, Tenant, TraceContext,
};
use query_database::{Commit, CommitOutcome, Forked, HeadSeen, Owned, RowWriter, SqliteConfig, SqliteQueryDatabase};
use query_service::{Answer, Body, Consistency, Handling, ListQuery, PointQuery, QueryOutcome, QueryService};
use runtime::Runtime;
use tempfile::TempDir;
use uuid::Uuid;

use super::Make;

/// The read model that services under test must know.
pub const READ_MODEL: &str = "parts";

/// How long services under test may let the read model be behind in silence.
pub const LAG_MAX: Duration = Duration::from_millis(50);

/// The epoch that the log begins with.
pub(super) const EPOCH: EpochId = EpochId(Uuid::from_u128(1));

/// Rows, their owner, and the service under test.
pub(super) struct World {
    pub(super) database: Arc<SqliteQueryDatabase>,
    pub(super) service: Arc<dyn QueryService>,
    pub(super) owned: Owned,
    pub(super) lineage: Arc<Lineage>,
    position: u64,
    version: u32,
    _directory: TempDir,
}

impl World {
    pub(super) async fn new(make: Make<'_>) -> Self {
        // In memory where that is possible: hundreds of databases are made, and none has to survive anything.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.expect("a directory for the rows");
        let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
        let config = SqliteConfig { readers: 1, list_workers: 1, ..SqliteConfig::default() };
        let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &config).expect("the database opens");
        let database = Arc::new(database);
        let owned = database.take(read_model(1)).await.expect("the read model is ours");
        let lineage = Arc::new(Lineage(vec![Epoch { id: EPOCH, first: Position::FIRST }]));
        Self {
            service: make(database.clone()),
            database,
            owned,
            lineage,
            position: 0,
            version: 1,
            _directory: directory,
        }
    }

    /// Folds one more event, which leads to these rows.
    pub(super) async fn fold(&mut self, rows: Vec<RowWrite>) -> Position {
        let head = HeadSeen { position: Position::new(self.position + 1), age: Duration::ZERO };
        self.fold_with_head(rows, head).await
    }

    pub(super) async fn fold_with_head(&mut self, rows: Vec<RowWrite>, head: HeadSeen) -> Position {
        let to = Position::after(Position::new(self.position));
        let commit = Commit {
            generation: self.owned.generation,
            owner: self.owned.owner,
            from: Position::new(self.position),
            to,
            hash: Hash::of(&to.get().to_be_bytes()),
            rows: rows.into_iter().map(|row| RowWrite { position: to, ..row }).collect(),
            lineage: self.lineage.clone(),
            head,
        };
        assert_eq!(self.database.commit(commit).await.expect("rows are stored"), CommitOutcome::Stored);
        self.position = to.get();
        to
    }

    /// Builds the read model anew from these rows, and switches to that.
    pub(super) async fn rebuild(&mut self, rows: Vec<RowWrite>) {
        self.version += 1;
        self.owned = self.database.take(read_model(self.version)).await.expect("a new generation");
        let events = std::mem::replace(&mut self.position, 0);
        self.fold(rows).await;
        while self.position < events {
            self.fold(Vec::new()).await;
        }
        let switched = self.database.switch(self.owned.generation, self.owned.owner).await;
        assert!(switched.expect("the database answers"), "the new generation has caught up");
    }

    /// The log turns out to be one of this lineage, which does not have what was folded.
    pub(super) async fn fork(&self, lineage: Lineage) {
        let position = Position::new(self.position).expect("something is folded");
        let hash = Hash::of(&position.get().to_be_bytes());
        let forked = Forked { generation: self.owned.generation, position, hash, lineage: Arc::new(lineage) };
        assert!(self.database.mark_forked(forked).await.expect("the database answers"), "it is the checkpoint");
    }

    pub(super) async fn point(&self, key: &str) -> QueryOutcome {
        self.service.point(point(key, None)).await
    }

    pub(super) async fn list(&self, parameters: &[(&str, &str)]) -> QueryOutcome {
        self.service.list(list(parameters, None)).await
    }

    /// The rows of a page, each by its key, and the next page's token.
    pub(super) async fn page(&self, parameters: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let outcome = self.list(parameters).await;
        let Body::Page { rows, next_page_token, .. } = answered(outcome).body else {
            panic!("a list is answered by a page")
        };
        let key = |row: bytes::Bytes| {
            let row: serde_json::Value = serde_json::from_slice(&row).expect("rows are JSON");
            row["key"].as_str().expect("every row has its key").to_owned()
        };
        (rows.into_iter().map(key).collect(), next_page_token)
    }
}

fn read_model(version: u32) -> Arc<ReadModel> {
    let field = |name: &str, kind| Field { name: name.to_owned(), kind };
    Arc::new(ReadModel {
        name: READ_MODEL.to_owned(),
        version,
        shape: Hash::default(),
        fields: vec![field("key", FieldKind::Text), field("colour", FieldKind::Text), field("price", FieldKind::Text)],
        indexes: vec![
            Index { field: "colour".to_owned(), kind: IndexKind::Text },
            Index { field: "price".to_owned(), kind: IndexKind::Money { scale: 2 } },
        ],
        schema: serde_json::json!({}),
    })
}

/// A row as a fold would write it; the position follows from when it is folded.
pub(super) fn put(key: &str, colour: Option<&str>, price: &str) -> RowWrite {
    let body = stored(key, colour, price);
    let colour = colour.map_or(IndexValue::Null, |colour| IndexValue::Text(colour.to_owned()));
    let price = IndexKind::Money { scale: 2 }.parse(price).expect("an amount");
    let change = RowChange::Put { body, index: vec![colour, price] };
    RowWrite { key: row_key(key), position: Position::FIRST, change }
}

/// The row's JSON, with a space that no serialiser would put there.
pub(super) fn stored(key: &str, colour: Option<&str>, price: &str) -> String {
    serde_json::json!({ "key": key, "colour": colour, "price": price }).to_string().replacen(':', ": ", 1)
}

pub(super) fn delete(key: &str) -> RowWrite {
    RowWrite { key: row_key(key), position: Position::FIRST, change: RowChange::Delete }
}

fn row_key(key: &str) -> RowKey {
    RowKey { tenant: Tenant::default(), key: model::encode_part(key).into() }
}

pub(super) fn token(epoch: EpochId, position: u64) -> ConsistencyToken {
    ConsistencyToken { epoch, position: Position::new(position).expect("positions count from 1") }
}

/// Strict, and not waiting.
pub(super) fn point(key: &str, token: Option<ConsistencyToken>) -> PointQuery {
    PointQuery {
        tenant: Tenant::default(),
        read_model: READ_MODEL.to_owned(),
        key: key.to_owned(),
        consistency: Consistency { token, handling: Handling::Strict, wait: Duration::ZERO },
        trace: TraceContext::default(),
        tracestate: None,
    }
}

/// Strict, and not waiting.
pub(super) fn list(parameters: &[(&str, &str)], token: Option<ConsistencyToken>) -> ListQuery {
    ListQuery {
        tenant: Tenant::default(),
        read_model: READ_MODEL.to_owned(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        consistency: Consistency { token, handling: Handling::Strict, wait: Duration::ZERO },
        trace: TraceContext::default(),
        tracestate: None,
    }
}

pub(super) fn answered(outcome: QueryOutcome) -> Answer {
    match outcome {
        QueryOutcome::Answered(answer) => answer,
        other => panic!("answered was expected, not {other:?}"),
    }
}
