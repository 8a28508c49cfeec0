//! The vocabulary of Diptych and the registry of one application's domain. No I/O, no box.
//!
//! A domain is written against [`Aggregate`] and [`Projection`]; a [`Registry`] holds all of it in the erased form that the
//! boxes work with, so that no box is generic over anybody's types.

mod aggregate;
mod behaviour;
mod by_key;
mod event;
mod fold;
mod identity;
mod index;
mod index_values;
mod key;
mod lineage;
mod money;
mod projection;
mod read_model;
mod registry;
mod shape;
mod token;
mod variant;

pub use self::{
    aggregate::{Aggregate, Context, EventTypes, Refusal},
    behaviour::{AggregateType, FieldError, Instance, Rejection},
    event::{EventType, Metadata, NewEvent, Recorded, StoredEvent, TraceContext},
    fold::{FoldFailure, Folder, ProjectionType, RowChange, RowKey, RowWrite},
    identity::{CommandId, EpochId, EventId, Hash, Position, Principal, StreamId, StreamVersion, Tenant},
    index::{Index, IndexKind, IndexValue, Indexes},
    key::{Key, KeyError, canonical as canonical_key, encode_part},
    lineage::{Epoch, Lineage, Verdict},
    money::{Money, MoneyError},
    projection::{Change, FoldError, Keys, Projection},
    read_model::{Field, FieldKind, ReadModel},
    registry::{DecodeError, Registry, RegistryError},
    shape::{canonical as canonical_json, shape as schema_shape},
    token::{ConsistencyToken, TokenError},
};
