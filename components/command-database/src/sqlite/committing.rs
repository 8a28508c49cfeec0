//! Where groups are committed: on the writer's worker, or at once by the task that asks (ADR 9).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::MutexGuard;
use runtime::{Runtime, Worker};

use super::{Log, SqliteEventStore, writer::Writer};
use crate::{Group, Groups, chain::Prepared, telemetry};

/// Groups that are committed one after the other before other work for the writer gets its turn.
const GROUPS_IN_A_ROW: usize = 16;

/// Commits that take longer than this, in microseconds, are not made by the task that asks.
const ON_THE_SPOT_MAX: u64 = 1000;

/// Commands of the last commit beyond which the next one is not made by the task that asks: that thread is wanted elsewhere.
const ON_THE_SPOT_COMMANDS_MAX: usize = 4;

/// Commands that make a commit worth its cost without waiting for more of them.
const COMMANDS_ENOUGH: usize = 32;
/// How often in a row the writer gives way for nothing before it commits.
const IN_VAIN_MAX: u32 = 4;

/// Has the writer's worker commit what waits.
fn send_for(writing: &Worker, log: &Arc<Log>, groups: Groups) {
    let again = Again(Some((writing.clone(), log.clone(), groups.clone())));
    let log = log.clone();
    // It runs whether or not somebody waits for it.
    drop(writing.run(move || {
        for _ in 0..GROUPS_IN_A_ROW {
            gather(&log.runtime, &groups);
            let Some(group) = groups.next() else { return again.cancel() };
            match log.begin_job() {
                Ok(writer) => log.commit_group(writer, group),
                Err(error) => group.answer(Err(error)),
            }
            log.write_index();
        }
    }));
}

/// Lets those who are about to hand a command over do so first: the writer has just answered, and whoever was answered, or came
/// meanwhile, needs the processors it would take. It costs nothing where they are free, and no time is waited for: it ends once
/// giving way brings nothing more.
fn gather(runtime: &Runtime, groups: &Groups) {
    let (mut waiting, mut in_vain) = (groups.waiting(), 0);
    while (1..COMMANDS_ENOUGH).contains(&waiting) && in_vain < IN_VAIN_MAX {
        runtime.yield_thread();
        let now = groups.waiting();
        in_vain = if now > waiting { 0 } else { in_vain + 1 };
        waiting = now;
    }
}

/// Sends for the worker when dropped, also by a panic: those who come later must not wait for ever.
struct Again(Option<(Worker, Arc<Log>, Groups)>);

impl Again {
    fn cancel(mut self) {
        self.0 = None;
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        if let Some((writing, log, groups)) = self.0.take() {
            send_for(&writing, &log, groups);
        }
    }
}

impl SqliteEventStore {
    /// Commits what waits on the writer's worker.
    pub(super) fn send_writer(&self, groups: Groups) {
        send_for(&self.writing, &self.log, groups);
    }

    /// Commits what little waits at once, where commits are quick, nobody else writes, and the runtime gives leave: one client
    /// alone then waits for the disk and not for two threads to wake each other. `false` where the worker has to do it.
    pub(super) fn commit_on_the_spot(&self, groups: &Groups) -> bool {
        let log = &self.log;
        if log.usual_commit.load(Ordering::Relaxed) > ON_THE_SPOT_MAX || !groups.are_few() {
            return false;
        }
        if log.last_commands.load(Ordering::Relaxed) > ON_THE_SPOT_COMMANDS_MAX {
            // The first of many that were answered together: the others are on their way.
            return false;
        }
        if log.checkpoints.is_restart_due() || log.index_is_due() {
            return false;
        }
        let Some(writer) = log.writer.try_lock().filter(|_| !log.failed.load(Ordering::Acquire)) else { return false };
        let Some(_leave) = log.runtime.leave_to_block() else { return false };
        let again = Again(Some((self.writing.clone(), log.clone(), groups.clone())));
        let Some(group) = groups.next() else {
            again.cancel();
            return true;
        };
        // A panic ends the commit, and not whoever submitted to it: the worker is sent for, and goes on.
        let committed = catch_unwind(AssertUnwindSafe(|| log.commit_group(writer, group))).is_ok();
        if committed && groups.end() {
            again.cancel();
        }
        true
    }
}

impl Log {
    fn commit_group(self: &Arc<Self>, writer: MutexGuard<'_, Writer>, mut group: Group) {
        let batch = group.take_prepared();
        self.last_commands.store(batch.iter().map(Prepared::len).sum(), Ordering::Relaxed);
        let hops = telemetry::hops(&batch);
        let began = self.runtime.now();
        let result = self.append(writer, &batch);
        // With whatever a commit brings with it, and failed ones too.
        self.remember(self.runtime.now().saturating_sub(began));
        drop(hops);
        group.answer(result);
    }

    /// How long commits take: a slow one counts at once, quick ones little by little.
    fn remember(&self, commit: Duration) {
        let commit = u64::try_from(commit.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual_commit.load(Ordering::Relaxed);
        let mean = (usual.min(8 * ON_THE_SPOT_MAX) * 7 + commit) / 8;
        self.usual_commit.store(mean.max(if commit > ON_THE_SPOT_MAX { commit } else { 0 }), Ordering::Relaxed);
    }
}
