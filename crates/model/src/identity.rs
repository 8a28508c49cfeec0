use std::{cmp::Ordering, fmt, num::NonZeroU64, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! counted_from_one {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first one.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// `None` for zero, which counts nothing.
            #[must_use]
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0.get()
            }

            /// The one after it.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// The one `count` after it.
            #[must_use]
            pub const fn plus(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }

            /// The one after `last`; the first where there is none yet.
            #[must_use]
            pub const fn after(last: Option<Self>) -> Self {
                match last {
                    Some(last) => last.next(),
                    None => Self::FIRST,
                }
            }

            /// How many there are up to `last`: its number, 0 for none.
            #[must_use]
            pub const fn count(last: Option<Self>) -> u64 {
                match last {
                    Some(last) => last.get(),
                    None => 0,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

counted_from_one! {
    /// Place of an event among all events. The first is 1; dense: after `n` comes `n + 1`, in commit order.
    Position
}
counted_from_one! {
    /// Place of an event in its stream. The first is 1; dense. The last one is the stream's version.
    StreamVersion
}

macro_rules! unique_id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

unique_id! {
    /// One life of the log. A restore, a move or a failover starts a new one; see [`Lineage`](crate::Lineage).
    EpochId
}
unique_id! {
    /// One command, made where it is accepted. All its events carry it.
    CommandId
}
unique_id! {
    /// One event, for ever.
    EventId
}

impl EventId {
    /// The id of a command's `index`-th event, counted from 0: the command's id with the index added to its last 62 bits.
    ///
    /// Derived, so that a log need not store it; unique, since command ids are random in exactly these bits.
    #[must_use]
    pub fn derived(command: CommandId, index: u32) -> Self {
        const RANDOM: u128 = (1 << 62) - 1;
        let bits = command.0.as_u128();
        // 0 is left to the command itself.
        let tail = (bits & RANDOM).wrapping_add(u128::from(index) + 1) & RANDOM;
        Self(Uuid::from_u128((bits & !RANDOM) | tail))
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// SHA-256 of `bytes` (FIPS 180-4).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// From stored bytes; `None` unless there are 32 of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At one go: formatting byte by byte costs as much as computing the hash.
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut digits = [0; 64];
        for (place, byte) in self.0.iter().enumerate() {
            (digits[2 * place], digits[2 * place + 1]) = (digit(byte >> 4), digit(byte & 0xf));
        }
        formatter.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

macro_rules! shared_text {
    ($(#[$docs:meta])* $name:ident, $default:literal) => {
        $(#[$docs])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl Ord for $name {
            /// By text. Keys of rows are sorted by it first, and nearly all have the same one.
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// From its text.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                static DEFAULT: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
                Self(DEFAULT.get_or_init(|| $default.into()).clone())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

shared_text! {
    /// Whose streams, rows and keys: nothing of one tenant is visible to another. `default` where none is configured.
    Tenant, "default"
}
shared_text! {
    /// On whose behalf a command runs. `anonymous` where nobody is authenticated.
    Principal, "anonymous"
}

/// The stream of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Whose it is.
    pub tenant: Tenant,
    /// The aggregate's name, such as `order`.
    pub aggregate: Arc<str>,
    /// Which of the aggregates of that name, such as `o-1`: UTF-8, not encoded; 1 to 256 bytes once percent-encoded.
    pub id: Arc<str>,
}

impl StreamId {
    /// Most bytes that an aggregate's id may have once percent-encoded, as in a row's key.
    pub const ID_BYTES_MAX: usize = 256;
}

impl fmt::Display for StreamId {
    /// `order/o-1`, without the tenant.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.aggregate, self.id)
    }
}
