//! Load Balancer: spreads requests evenly over the API Gateway instances. It faces the world.
//!
//! [`Listener`] and [`serve`] take HTTP/1.1 off a socket, within [`Limits`]; [`LoadBalancer`] forwards each request to the
//! one of the [`Gateways`] that power of two choices picks. It forwards meaning, not bytes, and makes answers of its own only
//! for what it refuses.
//!
//! ```
//! # use axum::{Router, routing::get};
//! use load_balancer::{Config, Instance, Limits, Listener, LoadBalancer, Metrics, serve};
//! use runtime::{Runtime, Shutdown};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), load_balancer::Error> {
//! let metrics = Metrics::new();
//! let gateway = || Router::new().route("/", get(async || "hello"));
//! let instances = vec![Instance::new("one", gateway()), Instance::new("two", gateway())];
//! let load_balancer = LoadBalancer::new(instances, Runtime::tokio(), metrics, Config::default())?;
//!
//! let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Limits::default())?;
//! println!("http://{}", listener.local_address());
//! let shutdown = Shutdown::new();
//! # shutdown.request();
//! let drained = serve(listener, load_balancer, shutdown).await;
//! assert_eq!(drained.unfinished, 0);
//! # Ok(())
//! # }
//! ```

mod error;
mod forward; // a request's way to an instance and back
mod gateways; // those of this process, or of others
mod headers; // what may travel and what may not
mod hops; // the spans of a traced request
mod instance; // one API Gateway of this process, and what it has in flight
mod listener; // sockets, limits, drain
mod networks; // who is named by address
mod origin; // a request's id and trace
mod picker; // power of two choices, and who takes part in it
mod refusal; // the answers of its own
mod remote; // gateways in other processes: attempts, repetitions
mod telemetry;

pub use self::{
    error::Error,
    forward::{Config, Forward, Forwarded, LoadBalancer},
    gateways::Gateways,
    headers::Peer,
    instance::Instance,
    listener::{Drained, Limits, Listener, Protection, serve},
    networks::{Networks, NotANetwork},
    remote::RemoteLimits,
    telemetry::Metrics,
};
