use std::{collections::BTreeSet, time::Duration};

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
        join_all(caller.instances().known().iter().map(|instance| ask(&caller, instance))).await;
        let pause = caller.runtime().sleep(ASK_EVERY);
        select(std::pin::pin!(shutdown.requested()), pause).await;
        if shutdown.is_requested() {
            return;
        }
    }
}

async fn ask(caller: &Caller, instance: &Instance) {
    let address = instance.address();
    let asked = caller.is_ready(address).await;
    if instance.standing().set_ready(asked.is_ok()) {
        match asked {
            Ok(()) => tracing::info!(instance = %address, "an instance takes calls"),
            Err(reason) => tracing::warn!(instance = %address, reason, "an instance takes no calls"),
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
