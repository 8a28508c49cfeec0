use std::time::Duration;

/// Limits of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Longest body of a request.
    pub body_bytes_max: usize,
    /// Most requests under way; more are refused at once.
    pub requests_max: usize,
    /// Longest time a command may take to be answered; it then runs on, and its outcome is unknown to the client.
    pub time_limit: Duration,
    /// How long a query waits for its consistency token where the client does not say.
    pub wait_default: Duration,
    /// Longest time that a client may ask to wait.
    pub wait_max: Duration,
    /// What stands before an error's code in a problem's `type`.
    pub error_pages_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            requests_max: 4096,
            time_limit: Duration::from_secs(30),
            wait_default: Duration::from_secs(2),
            wait_max: Duration::from_secs(30),
            error_pages_url: "/errors/".to_owned(),
        }
    }
}
