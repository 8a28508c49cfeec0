//! What the simulator promises.

mod protocol_model;
