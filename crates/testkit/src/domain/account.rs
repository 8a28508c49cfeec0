use model::{Context, EventTypes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An account that never goes below zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Whether it was opened.
    pub is_open: bool,
    /// What is in it.
    pub balance: u64,
}

/// What can be asked of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Command {
    /// Begins it; refused where it exists.
    Open {
        /// Whose.
        owner: String,
    },
    /// Adds to it. An amount of 0 is accepted, and nothing happens.
    Deposit {
        /// How much.
        amount: u64,
    },
    /// Adds to it in several events.
    DepositParts {
        /// How much each.
        amount: u64,
        /// How many events.
        parts: u32,
    },
    /// Takes from it; refused where there is not enough.
    Withdraw {
        /// How much.
        amount: u64,
    },
    /// A mistake in the domain's code: panics.
    Explode,
}

/// What has happened to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Event {
    /// It began.
    Opened {
        /// Whose.
        owner: String,
    },
    /// More is in it.
    Deposited {
        /// How much more.
        amount: u64,
    },
    /// Less is in it.
    Withdrawn {
        /// How much less.
        amount: u64,
    },
}

/// An account's ways to say no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was opened before.
    #[error("the account is open already")]
    AlreadyOpen,
    /// It was never opened.
    #[error("there is no such account: open it first")]
    NotOpen,
    /// Not enough in it.
    #[error("{asked} cannot be taken from {balance}")]
    NotEnough {
        /// What is in it.
        balance: u64,
        /// What was asked for.
        asked: u64,
    },
}

impl model::Refusal for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyOpen => "already-open",
            Self::NotOpen => "not-open",
            Self::NotEnough { .. } => "not-enough",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::AlreadyOpen => "The account is open already",
            Self::NotOpen => "The account is not open",
            Self::NotEnough { .. } => "Not enough is in the account",
        }
    }
}

impl model::Aggregate for Account {
    const NAME: &'static str = "account";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn events() -> EventTypes {
        EventTypes::new([
            ("Opened", "account.opened", 1),
            ("Deposited", "account.deposited", 1),
            ("Withdrawn", "account.withdrawn", 1),
        ])
    }

    fn decide(&self, command: Command, _context: &Context) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Explode => panic!("this command has a mistake in it"),
            Command::Open { .. } if self.is_open => Err(Refusal::AlreadyOpen),
            Command::Open { owner } => Ok(vec![Event::Opened { owner }]),
            _ if !self.is_open => Err(Refusal::NotOpen),
            Command::Deposit { amount: 0 } => Ok(Vec::new()),
            Command::Deposit { amount } => Ok(vec![Event::Deposited { amount }]),
            Command::DepositParts { amount, parts } => Ok((0..parts).map(|_| Event::Deposited { amount }).collect()),
            Command::Withdraw { amount } if amount > self.balance => {
                Err(Refusal::NotEnough { balance: self.balance, asked: amount })
            }
            Command::Withdraw { amount } => Ok(vec![Event::Withdrawn { amount }]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Opened { .. } => self.is_open = true,
            Event::Deposited { amount } => self.balance = self.balance.saturating_add(*amount),
            Event::Withdrawn { amount } => self.balance = self.balance.saturating_sub(*amount),
        }
    }
}
