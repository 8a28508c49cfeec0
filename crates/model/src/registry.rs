use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Aggregate, AggregateType, EventType, Projection, ProjectionType, Recorded, StoredEvent,
    behaviour::Typed as TypedAggregate, fold::Typed as TypedProjection,
};

/// Everything one application declares: its aggregates and its projections.
#[derive(Clone, Default)]
pub struct Registry {
    aggregates: BTreeMap<&'static str, Arc<dyn AggregateType>>,
    projections: BTreeMap<&'static str, Arc<dyn ProjectionType>>,
}

/// What is wrong with a declaration. Found at start, before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name would not do in a path and in a table.
    #[error("{name:?} is no name: use 1 to 48 lower-case letters, digits and `_`, beginning with a letter")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two declarations have one name.
    #[error("{name:?} is declared twice: give one of the two another NAME")]
    Twice {
        /// The name.
        name: String,
    },
    /// A command or event type that has no variants to be told apart.
    #[error("{what} of aggregate {aggregate} is not an enum: make it one")]
    NotAnEnum {
        /// The aggregate.
        aggregate: String,
        /// Which of its types.
        what: &'static str,
    },
    /// A variant without a stored name.
    #[error("event {variant} of aggregate {aggregate} has no stored name: add it to `events()`")]
    UnnamedEvent {
        /// The aggregate.
        aggregate: String,
        /// The variant.
        variant: String,
    },
    /// A stored name for a variant that does not exist.
    #[error("aggregate {aggregate} has no event {variant}: correct `events()`, which uses the names that serde uses")]
    NoSuchEvent {
        /// The aggregate.
        aggregate: String,
        /// The variant.
        variant: String,
    },
    /// Two event types of the application have the same stored name and version.
    #[error("event type {event_type} is declared twice: stored names are unique in an application")]
    EventTypeTwice {
        /// The stored name and version.
        event_type: String,
    },
    /// An upcast that never runs, or that leads nowhere.
    #[error("aggregate {aggregate} has an upcast from {event_type}, but {reason}: correct `events()`")]
    BadUpcast {
        /// The aggregate.
        aggregate: String,
        /// What it reads.
        event_type: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An index on a field that rows do not have, or whose name is taken by the interface.
    #[error("read model {read_model} cannot have an index on {field:?}: {reason}")]
    BadIndex {
        /// The read model.
        read_model: String,
        /// The field.
        field: String,
        /// Why not.
        reason: &'static str,
    },
}

/// A stored event or snapshot cannot be read by this binary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not in this binary's registry.
    #[error("event type {event_type} is not known to this binary: start one that declares it, or add an upcast")]
    UnknownType {
        /// The stored name and version.
        event_type: String,
    },
    /// The payload has another shape than the type says.
    #[error("cannot read the payload of an event of type {event_type}: its shape changed without a new version")]
    Payload {
        /// The stored name and version.
        event_type: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// The snapshot is not one of this state.
    #[error("cannot read a snapshot of aggregate {aggregate}")]
    Snapshot {
        /// The aggregate.
        aggregate: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// The domain's code panicked.
    #[error("the domain panicked on a stored event: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

/// Names that lists use for themselves, so that no index may bear them.
const RESERVED: [&str; 6] = ["page_size", "page_token", "order_by", "consistency_token", "after", "as_of"];

impl Registry {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an aggregate.
    ///
    /// # Errors
    /// [`RegistryError`] says what to change in its declaration.
    pub fn aggregate<A: Aggregate>(mut self) -> Result<Self, RegistryError> {
        let aggregate = TypedAggregate::<A>::new()?;
        for event_type in aggregate.event_types() {
            if self.event_types().any(|known| known.name == event_type.name) {
                return Err(RegistryError::EventTypeTwice { event_type: event_type.to_string() });
            }
        }
        match self.aggregates.insert(A::NAME, Arc::new(aggregate)) {
            None => Ok(self),
            Some(_) => Err(RegistryError::Twice { name: A::NAME.to_owned() }),
        }
    }

    /// Adds a projection.
    ///
    /// # Errors
    /// [`RegistryError`] says what to change in its declaration.
    pub fn projection<P: Projection>(mut self) -> Result<Self, RegistryError> {
        checked_name(P::NAME)?;
        let projection = TypedProjection::<P>::new();
        let read_model = projection.read_model();
        for (place, index) in read_model.indexes.iter().enumerate() {
            let bad =
                |reason| RegistryError::BadIndex { read_model: P::NAME.to_owned(), field: index.field.clone(), reason };
            if RESERVED.contains(&index.field.as_str()) {
                return Err(bad("the interface uses that name itself"));
            }
            if !read_model.fields.iter().any(|field| field.name == index.field) {
                return Err(bad("its rows have no such field"));
            }
            if read_model.indexes[..place].iter().any(|earlier| earlier.field == index.field) {
                return Err(bad("it has one already"));
            }
            checked_name(&index.field)?;
        }
        match self.projections.insert(P::NAME, Arc::new(projection)) {
            None => Ok(self),
            Some(_) => Err(RegistryError::Twice { name: P::NAME.to_owned() }),
        }
    }

    /// The aggregate of that name.
    #[must_use]
    pub fn find_aggregate(&self, name: &str) -> Option<&Arc<dyn AggregateType>> {
        self.aggregates.get(name)
    }

    /// All aggregates, by name.
    pub fn aggregates(&self) -> impl Iterator<Item = &Arc<dyn AggregateType>> {
        self.aggregates.values()
    }

    /// The projection of that name.
    #[must_use]
    pub fn find_projection(&self, name: &str) -> Option<&Arc<dyn ProjectionType>> {
        self.projections.get(name)
    }

    /// All projections, by name.
    pub fn projections(&self) -> impl Iterator<Item = &Arc<dyn ProjectionType>> {
        self.projections.values()
    }

    /// Every event type that this binary can read.
    pub fn event_types(&self) -> impl Iterator<Item = EventType> {
        self.aggregates.values().flat_map(|aggregate| aggregate.event_types())
    }

    /// Decodes an event of the log.
    ///
    /// # Errors
    /// [`DecodeError`] for an event of the future or of a shape that was changed: nobody may skip it.
    pub fn decode(&self, stored: impl Into<Arc<StoredEvent>>) -> Result<Recorded, DecodeError> {
        let stored = stored.into();
        let Some(aggregate) = self.find_aggregate(&stored.stream.aggregate) else {
            return Err(DecodeError::UnknownType { event_type: stored.event_type.to_string() });
        };
        let content = aggregate.decode(&stored.event_type, &stored.payload)?;
        Ok(Recorded::new(stored, Some(content)))
    }
}

pub(crate) fn checked_name(name: &str) -> Result<&str, RegistryError> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let all_well = name.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '_');
    if begins_well && all_well && name.len() <= 48 {
        Ok(name)
    } else {
        Err(RegistryError::BadName { name: name.chars().take(64).collect() })
    }
}
