//! The suite that every implementation passes, on a real PostgreSQL.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::RowKey;
use query_database::{Generation, PostgresConfig, PostgresQueryDatabase};
use testkit::conformance::query_database::{Database, Subject};
use tokio::sync::OnceCell;

use crate::server::{SERVER, fresh_database, open_at, sql};

struct Distributed {
    url: OnceCell<String>,
}

impl Distributed {
    fn new() -> Self {
        Self { url: OnceCell::new() }
    }

    async fn url(&self) -> &str {
        self.url
            .get_or_init(|| async {
                let url = fresh_database(&SERVER).await;
                PostgresQueryDatabase::migrate(&url, &PostgresConfig::default()).await.expect("made ready");
                url
            })
            .await
    }
}

impl Subject for Distributed {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Database>> {
        Box::pin(async move {
            let database: Arc<dyn Database> = Arc::new(open_at(self.url().await).await);
            database
        })
    }

    fn damage<'a>(&'a self, generation: Generation, key: &'a RowKey) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let damage = format!(
                "UPDATE diptych_rows.rows_{generation} SET body = overlay(body PLACING 'x' FROM 3 FOR 1) \
                 WHERE tenant = $1 AND key = $2"
            );
            let sql = sql(self.url().await).await;
            let damaged = sql.execute(&damage, &[&key.tenant.as_str(), &&*key.key]).await.expect("changed");
            assert_eq!(damaged, 1);
        })
    }
}

testkit::query_database_promises!(Distributed::new());
