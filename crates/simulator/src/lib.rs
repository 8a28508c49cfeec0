//! One seed, one thread, virtual time: the boxes up to their edge adapters.
//!
//! A [`Simulation`] is an engine for [`runtime::Runtime`]. Which ready task runs next, and every random byte, follow from its
//! seed; the clock jumps to the next timer when nothing is ready, so that an hour of waiting costs nothing. A [`Process`]
//! groups the tasks that a crash ends together. [`check()`] runs a scenario over many seeds and says how to replay a failure:
//!
//! ```
//! use std::time::Duration;
//!
//! simulator::check(0..20, |simulation| {
//!     let shop = simulation.process("shop");
//!     let runtime = shop.runtime();
//!     let answer = runtime.spawn("answer", {
//!         let runtime = runtime.clone();
//!         async move {
//!             runtime.sleep(Duration::from_secs(3600)).await;
//!             42
//!         }
//!     });
//!     assert_eq!(simulation.run_until(answer), Some(42));
//! });
//! ```
//!
//! What does not go through the runtime is not simulated: sockets, threads and real clocks have no place in a scenario. A
//! task that is woken from another thread fails the run.
//!
//! [`protocol_model`] is apart from all this: the protocol between log and read model at the size of a toy, the place to
//! learn it.

pub mod protocol_model;

mod check;
mod executor;
mod process;
mod ready;
mod simulation;
mod timer;
mod worker;

pub use self::{check::check, process::Process, simulation::Simulation};
