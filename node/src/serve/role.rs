use clap::ValueEnum;

/// A box that a process may run. The databases and the queue are servers of their own, and the relay is part of the Command
/// Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Faces the users.
    LoadBalancer,
    /// Routes commands and queries.
    ApiGateway,
    /// Decides, appends, relays.
    CommandService,
    /// Folds events into rows.
    EventHandler,
    /// Answers queries.
    QueryService,
}

impl Role {
    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load-balancer",
            Self::ApiGateway => "api-gateway",
            Self::CommandService => "command-service",
            Self::EventHandler => "event-handler",
            Self::QueryService => "query-service",
        }
    }

    /// Who may call it, along the arrows of the diagram.
    pub(crate) fn callers(self) -> &'static [&'static str] {
        match self {
            Self::LoadBalancer | Self::EventHandler => &[],
            Self::ApiGateway => &["load-balancer"],
            Self::CommandService | Self::QueryService => &["api-gateway"],
        }
    }

    /// Each once, those who ask before those who are asked.
    pub(crate) fn in_order(roles: &[Self]) -> Vec<Self> {
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}
