/// Lets whatever else is ready go first, once. Outside of tokio, as in a simulation, it wakes its task again and no more.
pub async fn give_way() {
    // Not a wake-up of its own task: tokio takes that for work that another thread should come for.
    tokio::task::yield_now().await;
}
