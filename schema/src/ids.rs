//! Names of things. Fixed-size ids are hex for people and bytes in CBOR; names are bounded strings.

use crate::limits;
use crate::units::{Epoch, UnixMicros};
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Why a text is not the id it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseIdError {
    /// Not hex of the right length.
    #[error("{what} must be {chars} hex digits, got {found:?}")]
    Hex {
        /// Which id.
        what: &'static str,
        /// How many digits it has.
        chars: usize,
        /// What was given, cut to 80 characters.
        found: String,
    },
    /// Empty, too long, or with a character that the name may not have.
    #[error("{what} must be 1 to {max} bytes of {allowed}, got {found:?}")]
    Name {
        /// Which name.
        what: &'static str,
        /// The longest one.
        max: usize,
        /// Allowed characters in words.
        allowed: &'static str,
        /// What was given, cut to 80 characters.
        found: String,
    },
    /// Not a UUID.
    #[error("an operation id is a UUID such as 0192f0c1-2b3c-7d4e-8f90-a1b2c3d4e5f6, got {0:?}")]
    Uuid(String),
    /// Not `TYPE:ID` with a known type.
    #[error("an actor is TYPE:ID with a type of user, agent, system, connector or worker, got {0:?}")]
    Actor(String),
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The id as bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hex digits, for messages in which a collision does no harm.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError::Hex {
                    what: $what,
                    chars: $len * 2,
                    found: excerpt(text),
                })?;
                Ok(Self(bytes))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes.try_into().map(Self).map_err(|_| {
                    minicbor::decode::Error::message(concat!($what, " has the wrong length")).at(d.position())
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id!(
    /// A workspace: the first 16 bytes of the hash of its genesis payload, so that whoever knows the id can
    /// check the genesis, and through it the whole governance chain.
    WorkspaceId, 16, "a workspace id"
);
bytes_id!(
    /// A device: its Ed25519 public key.
    DeviceId, 32, "a device id"
);
bytes_id!(
    /// A SHA-256 hash.
    Digest, 32, "a digest"
);
bytes_id!(
    /// One life of an object: the hash of the Automerge change that created it.
    Incarnation, 32, "an incarnation"
);

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let allowed: fn(char) -> bool = $ok;
                if text.is_empty() || text.len() > limits::ID_BYTES || !text.chars().all(allowed) {
                    return Err(ParseIdError::Name {
                        what: $what,
                        max: limits::ID_BYTES,
                        allowed: $allowed,
                        found: excerpt(text),
                    });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                d.str()?.parse().map_err(|e: ParseIdError| minicbor::decode::Error::message(e.to_string()).at(at))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_id!(
    /// An object's id, unique in its workspace: given by the caller or drawn as a UUIDv7.
    ObjectId, "an object id", "printable characters without spaces", |c| !c.is_control() && !c.is_whitespace()
);
name_id!(
    /// A collection's name.
    Collection, "a collection name", "letters, digits, '-', '_' and '.'",
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
);

/// One device log: replicated, append-only, one per workspace, device and epoch.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(array)]
pub struct LogId {
    /// The workspace.
    #[n(0)]
    pub workspace: WorkspaceId,
    /// The device that writes and signs it.
    #[n(1)]
    pub device: DeviceId,
    /// Which life of the device's log.
    #[n(2)]
    pub epoch: Epoch,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device.short(), self.epoch)
    }
}

/// An operation: a UUIDv7 (RFC 9562) whose time bits are the entry's hybrid time, so that ids grow along a log
/// and an entry is found by its id without an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub [u8; 16]);

impl OperationId {
    /// The id of the operation written at `time` by a writer whose 62-bit `tag` was drawn at random when it
    /// started. Times within one log never repeat, so neither do ids.
    ///
    /// RFC 9562 section 5.7, with method 3 of section 6.2: the microseconds fill `rand_a`.
    #[must_use]
    pub fn at(time: UnixMicros, tag: u64) -> Self {
        let millis = (u128::from(time.millis()) & 0xffff_ffff_ffff) << 80;
        let micros = u128::from(time.0 % 1_000) << 64;
        let tag = u128::from(tag & (u64::MAX >> 2));
        Self((millis | (0x7 << 76) | micros | (0b10 << 62) | tag).to_be_bytes())
    }

    /// The time the id carries, in microseconds: a hint for searching, not evidence.
    #[must_use]
    pub fn time(&self) -> UnixMicros {
        let bits = u128::from_be_bytes(self.0);
        let millis = (bits >> 80) as u64;
        let micros = ((bits >> 64) & 0xfff) as u64;
        UnixMicros(millis.saturating_mul(1_000).saturating_add(micros.min(999)))
    }

    /// The writer's tag, as given to [`OperationId::at`].
    #[must_use]
    pub fn tag(&self) -> u64 {
        (u128::from_be_bytes(self.0) as u64) & (u64::MAX >> 2)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationId({self})")
    }
}

impl FromStr for OperationId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        uuid::Uuid::try_parse(text)
            .map(|id| Self(id.into_bytes()))
            .map_err(|_| ParseIdError::Uuid(excerpt(text)))
    }
}

impl<C> Encode<C> for OperationId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for OperationId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        d.bytes()?
            .try_into()
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("an operation id has 16 bytes").at(at))
    }
}

impl Serialize for OperationId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OperationId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What kind of actor did something on a device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    #[n(0)]
    User,
    /// A program that acts with its own judgement.
    #[n(1)]
    Agent,
    /// The daemon itself.
    #[n(2)]
    System,
    /// A bridge to another system.
    #[n(3)]
    Connector,
    /// A background job.
    #[n(4)]
    Worker,
}

impl ActorKind {
    /// The word of the contract.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::System => "system",
            Self::Connector => "connector",
            Self::Worker => "worker",
        }
    }
}

/// Who acted on a device; written `user:ada`. Claimed by the caller and vouched for by the device only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    id: String,
}

impl Actor {
    /// The actor's own name, without its kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The daemon acting by itself.
    #[must_use]
    pub fn system() -> Self {
        Self { kind: ActorKind::System, id: "sourceos-syncd".to_owned() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.id)
    }
}

impl FromStr for Actor {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError::Actor(excerpt(text));
        let (kind, id) = text.split_once(':').ok_or_else(error)?;
        let kind = match kind {
            "user" => ActorKind::User,
            "agent" => ActorKind::Agent,
            "system" => ActorKind::System,
            "connector" => ActorKind::Connector,
            "worker" => ActorKind::Worker,
            _ => return Err(error()),
        };
        let printable = |c: char| !c.is_control() && !c.is_whitespace();
        if id.is_empty() || text.len() > limits::ID_BYTES || !id.chars().all(printable) {
            return Err(error());
        }
        Ok(Self { kind, id: id.to_owned() })
    }
}

impl<C> Encode<C> for Actor {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Actor {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        d.str()?.parse().map_err(|e: ParseIdError| minicbor::decode::Error::message(e.to_string()).at(at))
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_are_version_7_and_grow_with_time() {
        let first = OperationId::at(UnixMicros(1_700_000_000_123_456), u64::MAX);
        let second = OperationId::at(UnixMicros(1_700_000_000_123_457), 0);
        let id = uuid::Uuid::from_bytes(first.0);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert!(first < second);
        assert_eq!(first.time(), UnixMicros(1_700_000_000_123_456));
        assert_eq!(OperationId::at(first.time(), first.tag()), first);
    }

    #[test]
    fn names_are_bounded() {
        assert!("notes".parse::<Collection>().is_ok());
        assert!("no tes".parse::<Collection>().is_err());
        assert!("".parse::<ObjectId>().is_err());
        assert!("x".repeat(129).parse::<ObjectId>().is_err());
        assert!("user:ada".parse::<Actor>().is_ok());
        assert!("ada".parse::<Actor>().is_err());
        assert!("robot:ada".parse::<Actor>().is_err());
        assert!("user:".parse::<Actor>().is_err());
    }
}
