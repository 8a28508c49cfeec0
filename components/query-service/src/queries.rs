use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, Either, select};
use model::{ConsistencyToken, Position, RowKey, TraceContext, Verdict, canonical_key};
use prometheus_client::metrics::counter::Counter;
use query_database::{Checkpoint, Error, ListRead, PointRead, RowReader};
use runtime::Runtime;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    Answer, Body, Consistency, Freshness, Handling, ListQuery, Metrics, PointQuery, QueryOutcome, QueryService,
    lag::{Behind, Lag},
    list::{self, PageSize},
    page_token::Sealer,
    telemetry::{BOX, HOP, ReadModelMetrics},
};

/// Limits of one query service.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest time that a query waits for its token, whatever it asks.
    pub wait_max: Duration,
    /// Most queries that wait at once; one more is answered without waiting.
    pub waiting_max: usize,
    /// Rows of a page where the client does not say.
    pub page_rows_default: usize,
    /// Most rows of a page.
    pub page_rows_max: usize,
    /// How long a read model may be behind before its answers say so.
    pub lag_max: Duration,
    /// How old the last look at the head of the log may be before answers say that nobody looks any more.
    pub head_age_max: Duration,
    /// How long after another life of the log began the checkpoints that are stored may still be without it, and how far the
    /// clocks of a database and its standbys may be apart: no look at the log counts against a token sooner after the question.
    pub epoch_news_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_secs(30),
            waiting_max: 1024,
            page_rows_default: 50,
            page_rows_max: 500,
            lag_max: Duration::from_secs(1),
            head_age_max: Duration::from_secs(10),
            epoch_news_max: Duration::from_millis(500),
        }
    }
}

/// Times that a list is asked again because the read model went over to another generation in between.
const SWITCHES_MAX: usize = 5;
/// When to try again where nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The Query Service over a Query Database.
pub struct Queries {
    runtime: Runtime,
    reader: Arc<dyn RowReader>,
    known: Vec<Known>,
    sealer: Sealer,
    limits: Limits,
    waiting: Semaphore,
    rows_damaged: Counter,
}

/// A read model of this application.
struct Known {
    name: String,
    lag: Lag,
    metrics: ReadModelMetrics,
}

impl Queries {
    /// Over the rows of `reader`. `page_token_key` is the same for all instances of a system.
    #[must_use]
    pub fn new(
        runtime: Runtime,
        reader: Arc<dyn RowReader>,
        read_models: Vec<String>,
        page_token_key: &[u8; 32],
        limits: Limits,
        metrics: &Metrics,
    ) -> Self {
        let began = runtime.now();
        let known = |name: String| Known { lag: Lag::new(began), metrics: metrics.of(&name), name };
        Self {
            runtime,
            reader,
            known: read_models.into_iter().map(known).collect(),
            sealer: Sealer::new(page_token_key),
            waiting: Semaphore::new(limits.waiting_max.min(Semaphore::MAX_PERMITS)),
            limits,
            rows_damaged: metrics.rows_damaged.clone(),
        }
    }

    /// How many queries have failed because a stored row is not what was written.
    #[must_use]
    pub fn rows_damaged(&self) -> u64 {
        self.rows_damaged.get()
    }

    fn known(&self, name: &str) -> Result<&Known, QueryOutcome> {
        let unknown =
            || QueryOutcome::UnknownReadModel { known: self.known.iter().map(|known| known.name.clone()).collect() };
        self.known.iter().find(|known| known.name == name).ok_or_else(unknown)
    }

    async fn timed(&self, known: &Known, answer: impl Future<Output = Result<Answer, QueryOutcome>>) -> QueryOutcome {
        let began = self.runtime.now();
        let outcome = answer.await.map_or_else(|refused| refused, QueryOutcome::Answered);
        known.metrics.duration.observe(self.runtime.now().saturating_sub(began).as_secs_f64());
        outcome
    }

    async fn answer_point(&self, known: &Known, query: PointQuery) -> Result<Answer, QueryOutcome> {
        let key = canonical_key(&query.key).map_err(|error| QueryOutcome::InvalidKey { detail: error.to_string() })?;
        let key = RowKey { tenant: query.tenant, key: key.into() };
        let read =
            || async { self.reader.point(&known.name, &key).await.map_err(|error| self.failed(&error, query.trace)) };
        let (PointRead { row, checkpoint }, freshness) =
            self.settled(known, query.consistency, read, |read| &read.checkpoint).await?;
        let body = row.map_or(Body::NoRow, |row| Body::Row { body: row.body, position: row.position });
        Ok(Answer { body, generation: checkpoint.generation, token: token_of(&checkpoint), freshness })
    }

    async fn answer_list(&self, known: &Known, query: ListQuery) -> Result<Answer, QueryOutcome> {
        let read = || self.read_list(&query);
        let (ListRead { rows, more, checkpoint }, freshness) =
            self.settled(known, query.consistency, read, |read| &read.checkpoint).await?;
        let last = rows.last().filter(|_| more);
        let next_page_token = last.and_then(|row| self.sealer.seal(&query, checkpoint.generation, &row.start));
        let rows = rows.into_iter().map(|row| row.body).collect();
        let body = Body::Page { rows, next_page_token, position: checkpoint.position };
        Ok(Answer { body, generation: checkpoint.generation, token: token_of(&checkpoint), freshness })
    }

    async fn read_list(&self, query: &ListQuery) -> Result<ListRead, QueryOutcome> {
        let page_size = PageSize { default: self.limits.page_rows_default, max: self.limits.page_rows_max };
        for _ in 0..SWITCHES_MAX {
            let serving =
                self.reader.serving(&query.read_model).await.map_err(|error| self.failed(&error, query.trace))?;
            let list = list::parse(query, &serving, &self.sealer, page_size)?;
            let read =
                self.reader.list(&query.read_model, list).await.map_err(|error| self.failed(&error, query.trace))?;
            if let Some(read) = read {
                return Ok(read);
            }
        }
        Err(QueryOutcome::Unavailable { retry_after: RETRY_AFTER })
    }

    /// The outcome of a query whose read failed. The cause goes into the log and no further.
    fn failed(&self, error: &Error, trace: TraceContext) -> QueryOutcome {
        let cause: &(dyn std::error::Error + 'static) = error;
        let trace_id = format_args!("{:032x}", trace.trace_id);
        match error {
            Error::NotServing { .. } => QueryOutcome::Unavailable { retry_after: RETRY_AFTER },
            error if error.is_retryable() => {
                tracing::warn!(%trace_id, error = cause, "a query could not be read");
                QueryOutcome::Unavailable { retry_after: RETRY_AFTER }
            }
            _ => {
                if matches!(error, Error::Corrupt { .. }) {
                    self.rows_damaged.inc();
                }
                tracing::error!(%trace_id, error = cause, "a query failed");
                QueryOutcome::Internal
            }
        }
    }

    /// What `read` gives once it contains the token, or when the time to wait for that is over. Without a token, at once.
    async fn settled<T, F>(
        &self,
        known: &Known,
        consistency: Consistency,
        read: impl Fn() -> F,
        checkpoint: fn(&T) -> &Checkpoint,
    ) -> Result<(T, Freshness), QueryOutcome>
    where
        F: Future<Output = Result<T, QueryOutcome>>,
    {
        let Some(token) = consistency.token else {
            let answer = read().await?;
            let freshness = self.freshness(known, checkpoint(&answer));
            return Ok((answer, freshness));
        };
        let began = self.runtime.now();
        let mut answer = read().await?;
        let wait = consistency.wait.min(self.limits.wait_max);
        if !contains(checkpoint(&answer), token)? {
            let slot = self.waiting.try_acquire().ok().filter(|_| !wait.is_zero());
            if slot.is_some() {
                answer = self.wait_for(known, token, wait, &read, checkpoint).await?;
            }
        }
        if contains(checkpoint(&answer), token)? {
            let freshness = self.freshness(known, checkpoint(&answer));
            return Ok((answer, freshness));
        }
        let now = self.runtime.now();
        let checkpoint = checkpoint(&answer);
        let behind = missing(checkpoint, token);
        let age = now.saturating_sub(began).max(known.lag.behind(checkpoint, now).age_if_behind());
        match consistency.handling {
            Handling::Strict => Err(QueryOutcome::NotYetConsistent { behind, age }),
            Handling::Lenient => Ok((answer, Freshness::Stale { behind, age })),
        }
    }

    /// The first answer that contains `token`, or the last one within `wait`.
    async fn wait_for<T, F>(
        &self,
        known: &Known,
        token: ConsistencyToken,
        wait: Duration,
        read: &impl Fn() -> F,
        checkpoint: fn(&T) -> &Checkpoint,
    ) -> Result<T, QueryOutcome>
    where
        F: Future<Output = Result<T, QueryOutcome>>,
    {
        let began = self.runtime.now();
        let mut time_is_up = pin!(self.runtime.sleep(wait));
        loop {
            // Asked for before the read: a commit between the two is not missed.
            let changed = self.reader.changed();
            let asked = self.runtime.now();
            let answer = read().await?;
            let reached = contains(checkpoint(&answer), token)?;
            let looked_after = asked.saturating_sub(checkpoint(&answer).head.age).saturating_sub(began);
            if !reached && self.is_of_no_prefix(checkpoint(&answer), token, looked_after) {
                return Err(QueryOutcome::EpochChanged);
            }
            let late = !reached && matches!(select(changed, &mut time_is_up).await, Either::Right(_));
            if reached || late {
                let waited = self.runtime.now().saturating_sub(began).as_secs_f64();
                if reached { &known.metrics.reached } else { &known.metrics.late }.observe(waited);
                return Ok(answer);
            }
        }
    }

    /// Whether `token` is none of this log, as far as the last look at the log tells, which was `looked_after` the question
    /// came. Whoever asks has the token already, so the log had everything that it names by then. Rows on a standby are read by
    /// another clock than they were written by, which the margin makes up for: to refuse late is better than to be wrong.
    fn is_of_no_prefix(&self, checkpoint: &Checkpoint, token: ConsistencyToken, looked_after: Duration) -> bool {
        if checkpoint.forked.is_some() || looked_after <= self.limits.epoch_news_max {
            return false;
        }
        match checkpoint.lineage.judge(&token) {
            Verdict::Reach(position) => checkpoint.head.position < Some(position),
            Verdict::UnknownEpoch | Verdict::BeyondFork => true,
        }
    }

    /// What an answer says of itself where no token, or a satisfied one, says it better.
    fn freshness(&self, known: &Known, checkpoint: &Checkpoint) -> Freshness {
        let behind = known.lag.behind(checkpoint, self.runtime.now());
        let limit = if behind.events > 0 { self.limits.lag_max } else { self.limits.head_age_max };
        let is_sound = checkpoint.held.is_none() && checkpoint.forked.is_none() && !behind.is_incomplete;
        if !is_sound || behind.age > limit {
            return Freshness::Stale { behind: behind.events, age: behind.age };
        }
        Freshness::Fresh
    }
}

impl Behind {
    fn age_if_behind(self) -> Duration {
        if self.events > 0 { self.age } else { Duration::ZERO }
    }
}

/// The prefix of the log that rows at `checkpoint` are the fold of; none of it where they are of a history that the log does
/// not have, whatever they share with it.
fn reached(checkpoint: &Checkpoint) -> Option<Position> {
    checkpoint.position.filter(|_| checkpoint.forked.is_none())
}

/// Whether rows at `checkpoint` contain the prefix that `token` names.
fn contains(checkpoint: &Checkpoint, token: ConsistencyToken) -> Result<bool, QueryOutcome> {
    let log = checkpoint.forked.as_ref().unwrap_or(&checkpoint.lineage);
    match log.judge(&token) {
        Verdict::Reach(position) => Ok(reached(checkpoint) >= Some(position)),
        Verdict::UnknownEpoch => Ok(false),
        Verdict::BeyondFork => Err(QueryOutcome::EpochChanged),
    }
}

/// How many events of the prefix that `token` names are not in rows at `checkpoint`; 0 where nobody can tell, since positions
/// of two histories do not compare.
fn missing(checkpoint: &Checkpoint, token: ConsistencyToken) -> u64 {
    let log = checkpoint.forked.as_ref().unwrap_or(&checkpoint.lineage);
    match log.judge(&token) {
        Verdict::Reach(position) => position.get().saturating_sub(Position::count(reached(checkpoint))),
        Verdict::UnknownEpoch | Verdict::BeyondFork => 0,
    }
}

fn token_of(checkpoint: &Checkpoint) -> Option<ConsistencyToken> {
    let position = reached(checkpoint)?;
    Some(ConsistencyToken { epoch: checkpoint.lineage.epoch_of(position)?, position })
}

fn hop(trace: TraceContext) -> tracing::Span {
    tracing::debug_span!(
        target: HOP,
        "query-service",
        diptych.r#box = BOX,
        diptych.hop = 8,
        trace_id = %format_args!("{:032x}", trace.trace_id)
    )
}

impl QueryService for Queries {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        let hop = hop(query.trace);
        let outcome = async {
            let known = match self.known(&query.read_model) {
                Ok(known) => known,
                Err(unknown) => return unknown,
            };
            self.timed(known, self.answer_point(known, query)).await
        };
        // Without a span there is nothing to enter and leave.
        if hop.is_disabled() { Box::pin(outcome) } else { Box::pin(outcome.instrument(hop)) }
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        let hop = hop(query.trace);
        let outcome = async {
            let known = match self.known(&query.read_model) {
                Ok(known) => known,
                Err(unknown) => return unknown,
            };
            self.timed(known, self.answer_list(known, query)).await
        };
        Box::pin(outcome.instrument(hop))
    }
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queries").field("limits", &self.limits).finish_non_exhaustive()
    }
}
