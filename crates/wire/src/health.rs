use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::{join_all, select};
use runtime::Shutdown;

use crate::{Caller, Candidate, Instance};

/// How often instances are asked whether they are ready.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often names are looked up again, counted in rounds of asking.
const LOOK_UP_EVERY: u32 = 20;

/// Keeps what is known of the instances fresh.
pub(crate) async fn watch(caller: Caller, shutdown: Shutdown) {
    let mut round = 0;
    loop {
        if round % LOOK_UP_EVERY == 0 {
            look_up(&caller).await;
        }
        round += 1;
        let asked = join_all(caller.instances().known().iter().map(|instance| ask(&caller, instance.clone()))).await;
        // Those that are back are known before those that go: where one takes the place of the other, there is always one.
        asked.into_iter().flatten().for_each(|(instance, reason)| note(&instance, Some(reason)));
        let pause = caller.runtime().sleep(ASK_EVERY);
        select(std::pin::pin!(shutdown.requested()), pause).await;
        if shutdown.is_requested() {
            return;
        }
    }
}

/// Notes an instance that takes calls, and returns one that takes none, with the reason.
async fn ask(caller: &Caller, instance: Arc<Instance>) -> Option<(Arc<Instance>, String)> {
    let reason = caller.is_ready(&instance).await.err();
    if reason.is_none() {
        note(&instance, None);
    }
    reason.map(|reason| (instance, reason))
}

/// `missing` is why it takes no calls, if it does not.
fn note(instance: &Instance, missing: Option<String>) {
    if instance.standing().set_ready(missing.is_none()) {
        match missing {
            None => tracing::info!(instance = %instance.address(), "an instance takes calls"),
            Some(reason) => tracing::warn!(instance = %instance.address(), reason, "an instance takes no calls"),
        }
    }
}

/// What cannot be looked up leaves what was known: a name server's bad minute is no reason to forget instances.
async fn look_up(caller: &Caller) {
    let mut found = BTreeSet::new();
    for name in caller.instances().names() {
        match tokio::net::lookup_host(name).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => {
                tracing::warn!(instance = %name, error = %error, "an instance's name cannot be looked up");
                return;
            }
        }
    }
    caller.instances().found(found.into_iter().collect());
}
