//! CQRS as one picture, working: the crate that applications name.
//!
//! Write the domain against [`Aggregate`] and [`Projection`], give it to [`App`], and run it. An aggregate decides which
//! events a command leads to; a projection folds events into the rows that queries read.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use diptych::{Aggregate, Change, Context, EventTypes, FoldError, Keys, Projection, Recorded};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize, JsonSchema)]
//! struct Lamp { lit: bool }
//!
//! #[derive(Deserialize, JsonSchema)]
//! enum Command { Toggle }
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! enum Event { Toggled { lit: bool } }
//!
//! impl Aggregate for Lamp {
//!     const NAME: &'static str = "lamp";
//!     const STATE_VERSION: u32 = 1;
//!     type Command = Command;
//!     type Event = Event;
//!     type Refusal = Infallible;
//!
//!     fn events() -> EventTypes {
//!         EventTypes::new([("Toggled", "lamp.toggled", 1)])
//!     }
//!
//!     fn decide(&self, Command::Toggle: Command, _: &Context) -> Result<Vec<Event>, Infallible> {
//!         Ok(vec![Event::Toggled { lit: !self.lit }])
//!     }
//!
//!     fn evolve(&mut self, Event::Toggled { lit }: &Event) {
//!         self.lit = *lit;
//!     }
//! }
//!
//! let registry = diptych::App::new("lamps").aggregate::<Lamp>().registry()?;
//! assert_eq!(registry.find_aggregate("lamp").expect("declared").commands(), ["toggle"]);
//! # Ok::<(), diptych::RegistryError>(())
//! ```

pub use model::{
    self, Aggregate, Change, Context, EventTypes, FoldError, Indexes, Key, KeyError, Keys, Money, MoneyError,
    Projection, Recorded, Refusal, Registry, RegistryError,
};
pub use node::{App, Dev, Error, Handler, Output, Settings};

/// The allocator of every binary that links this crate (ADR 0012). A command is allocated by one thread and freed by another,
/// which the system's allocator answers with a lock.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
