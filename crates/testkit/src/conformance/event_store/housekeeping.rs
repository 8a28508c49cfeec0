use std::time::Duration;

use command_database::RelayLease;
use model::Position;
use uuid::Uuid;

use super::{Checked, Store, Subject, declare, ensure};

declare![
    one_relay_at_a_time_has_the_lease,
    a_lease_ends_with_its_time,
    a_former_holders_cursor_is_refused,
    the_relays_cursor_is_handed_on,
];

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

impl Store {
    async fn lease(&self, holder: Uuid, ttl: Duration) -> Result<Option<RelayLease>, String> {
        self.store.lease_relay(holder, ttl).await.map_err(|error| error.to_string())
    }

    async fn take(&self, holder: Uuid, ttl: Duration) -> Result<RelayLease, String> {
        self.lease(holder, ttl).await?.ok_or_else(|| "the lease is refused to the only one who asks".to_owned())
    }

    async fn store_cursor(&self, token: u64, cursor: Position) -> Result<bool, String> {
        self.store.store_relay_cursor(token, cursor).await.map_err(|error| error.to_string())
    }
}

async fn one_relay_at_a_time_has_the_lease(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let (one, other) = (subject.runtime.uuid(), subject.runtime.uuid());
    let lease = store.take(one, LONG).await?;
    let second = store.lease(other, LONG).await?;
    ensure!(second.is_none(), "while one holds the lease another got {second:?}");
    let renewed = store.take(one, LONG).await?;
    ensure!(renewed.token == lease.token, "renewed, {lease:?} became {renewed:?}");
    Ok(())
}

async fn a_lease_ends_with_its_time(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    store.take(subject.runtime.uuid(), SHORT).await?;
    subject.runtime.sleep(SHORT * 2).await;
    let next = store.lease(subject.runtime.uuid(), LONG).await?;
    ensure!(next.is_some(), "the lease is still refused after twice its time");
    Ok(())
}

async fn a_former_holders_cursor_is_refused(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let former = store.take(subject.runtime.uuid(), SHORT).await?;
    subject.runtime.sleep(SHORT * 2).await;
    // A holder that only stops working can be taken for gone; one whose process ended is gone.
    let Some(present) = store.lease(subject.runtime.uuid(), LONG).await? else { return Ok(()) };
    ensure!(!store.store_cursor(former.token, Position::FIRST).await?, "{former:?} moved the cursor of {present:?}");
    ensure!(store.store_cursor(present.token, Position::FIRST).await?, "{present:?} cannot move its cursor");
    Ok(())
}

async fn the_relays_cursor_is_handed_on(subject: &Subject<'_>) -> Checked {
    let store = subject.open().await;
    let lease = store.take(subject.runtime.uuid(), SHORT).await?;
    ensure!(lease.cursor.is_none(), "nothing was relayed, yet the cursor is {lease:?}");
    let cursor = Position::FIRST.plus(6);
    ensure!(store.store_cursor(lease.token, cursor).await?, "the holder cannot move its cursor");
    drop(store);
    subject.runtime.sleep(SHORT * 2).await;
    let store = subject.open().await;
    let Some(next) = store.lease(subject.runtime.uuid(), LONG).await? else { return Ok(()) };
    ensure!(next.cursor == Some(cursor), "the next holder starts from {next:?}");
    Ok(())
}
