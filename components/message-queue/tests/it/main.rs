//! Both queues, by the contract's suite and by what is their own.

mod conformance;
mod faults;
mod in_process;
mod jetstream;
mod server;
mod stock_client;
mod stream;
