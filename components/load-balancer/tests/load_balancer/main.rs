//! The load balancer as its neighbours meet it: gateways as services behind it, clients as bytes on a real socket.

mod support;

mod drain;
mod forwarding;
mod limits;
mod spreading;
mod strictness;
mod telemetry;
