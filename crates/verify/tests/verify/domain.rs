//! Accounts, and their balances as a read model with two indexes.

use model::{Change, Context, EventTypes, FoldError, Indexes, Keys, Projection, Recorded, Registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Account {
    pub(crate) balance: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) enum Command {
    Deposit { amount: i64 },
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) enum Event {
    Opened { owner: String },
    Deposited { amount: i64 },
}

impl model::Aggregate for Account {
    const NAME: &'static str = "account";
    const STATE_VERSION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Refusal = std::convert::Infallible;

    fn events() -> EventTypes {
        EventTypes::new([("Opened", "account.opened", 1), ("Deposited", "account.deposited", 1)])
    }

    fn decide(&self, command: Command, _: &Context) -> Result<Vec<Event>, Self::Refusal> {
        let Command::Deposit { amount } = command;
        Ok(vec![Event::Deposited { amount }])
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Deposited { amount } = event {
            self.balance += amount;
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Balance {
    owner: String,
    balance: i64,
}

impl Projection for Balance {
    const NAME: &'static str = "balance";
    const VERSION: u32 = 1;
    type Key = String;

    fn keys(event: &Recorded) -> Result<Keys<String>, FoldError> {
        Ok(Keys::one(event.id().to_owned()))
    }

    fn fold(_: &String, row: Option<Self>, event: &Recorded) -> Result<Change<Self>, FoldError> {
        let mut row = row.unwrap_or_default();
        match event.of::<Account>() {
            Some(Event::Opened { owner }) => row.owner.clone_from(owner),
            Some(Event::Deposited { amount }) => row.balance += amount,
            None => return Ok(Change::Keep),
        }
        Ok(Change::Put(row))
    }

    fn indexes() -> Indexes {
        Indexes::new().text("owner").integer("balance")
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new().aggregate::<Account>().and_then(Registry::projection::<Balance>).expect("it is declared well")
}
