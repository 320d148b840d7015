//! The frame of a change chunk: taken apart into what can be derived and what cannot, and put together again.
//!
//! Log runs store the parts, since dependencies and actor mostly follow from the changes before. Splitting and
//! assembling are exact inverses: whatever [`split`] accepts, [`assemble`] gives back byte for byte.

use super::reader::{Reader, write_unsigned};
use super::refused::{Reason, Refused};
use sha2::{Digest as _, Sha256};
use syncd_schema::{Digest, limits};

/// What every chunk starts with.
pub(crate) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// An uncompressed change.
pub(crate) const CHANGE: u8 = 1;
/// Magic and checksum: what the hash is not over.
const UNHASHED: usize = 8;
/// The longest actor id let in. Ours have 16 bytes.
pub const ACTOR_BYTES: usize = 64;

/// A change chunk in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The changes it depends on, in the order it lists them.
    pub deps: Vec<Digest>,
    /// Who made it.
    pub actor: &'a [u8],
    /// All that follows the actor.
    pub rest: &'a [u8],
}

/// Takes a change chunk apart.
///
/// # Errors
/// When the bytes are not one whole uncompressed change chunk with a right checksum.
pub fn split(bytes: &[u8]) -> Result<Parts<'_>, Refused> {
    let (mut reader, _) = open(bytes)?;
    let deps = read_deps(&mut reader)?;
    let actor = read_actor(&mut reader)?;
    Ok(Parts { deps, actor, rest: reader.rest() })
}

/// Puts a change chunk together from its parts, and says what it hashes to.
///
/// # Errors
/// When it would be larger, or have more dependencies, than a change may.
pub fn assemble(deps: &[Digest], actor: &[u8], rest: &[u8]) -> Result<(Digest, Vec<u8>), Refused> {
    if deps.len() > limits::CHANGE_DEPS {
        return Err(Reason::TooManyDeps { found: deps.len() as u64 }.into());
    }
    if actor.is_empty() || actor.len() > ACTOR_BYTES {
        return Err(Reason::BadActor.into());
    }
    let mut counts = (Vec::with_capacity(3), Vec::with_capacity(1));
    write_unsigned(deps.len() as u64, &mut counts.0);
    write_unsigned(actor.len() as u64, &mut counts.1);
    let body = counts.0.len() + deps.len() * 32 + counts.1.len() + actor.len();
    let Some(length) = body.checked_add(rest.len()).filter(|length| *length <= limits::CHANGE_BYTES) else {
        return Err(Reason::TooLarge { found: rest.len() }.into());
    };

    let mut bytes = Vec::with_capacity(length + 16);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(CHANGE);
    write_unsigned(length as u64, &mut bytes);
    bytes.extend_from_slice(&counts.0);
    deps.iter().for_each(|dep| bytes.extend_from_slice(dep.as_bytes()));
    bytes.extend_from_slice(&counts.1);
    bytes.extend_from_slice(actor);
    bytes.extend_from_slice(rest);
    if bytes.len() > limits::CHANGE_BYTES {
        return Err(Reason::TooLarge { found: bytes.len() }.into());
    }
    let hash = hash(&bytes);
    bytes.iter_mut().skip(MAGIC.len()).zip(hash.as_bytes().iter().take(4)).for_each(|(to, from)| *to = *from);
    Ok((hash, bytes))
}

/// Checks the frame of a chunk: size, magic, type, exact length, checksum. Gives a reader of the content and
/// the hash.
pub(crate) fn open(bytes: &[u8]) -> Result<(Reader<'_>, Digest), Refused> {
    if bytes.len() > limits::CHANGE_BYTES {
        return Err(Reason::TooLarge { found: bytes.len() }.into());
    }
    let mut reader = Reader::new(bytes, 0, "header");
    let magic = reader.array::<4>()?;
    if magic != MAGIC {
        return Err(Refused::at(Reason::BadMagic, "header", 0));
    }
    let checksum = reader.array::<4>()?;
    let kind = reader.byte()?;
    if kind != CHANGE {
        return Err(Refused::at(Reason::ChunkType { found: kind }, "header", UNHASHED));
    }
    let length = reader.unsigned()?;
    match (reader.rest().len() as u64).cmp(&length) {
        std::cmp::Ordering::Less => return Err(reader.refuse(Reason::Truncated)),
        std::cmp::Ordering::Greater => return Err(reader.refuse(Reason::TrailingBytes)),
        std::cmp::Ordering::Equal => {}
    }
    let hash = hash(bytes);
    if !hash.as_bytes().starts_with(&checksum) {
        return Err(Refused::at(Reason::BadChecksum, "header", MAGIC.len()));
    }
    Ok((reader, hash))
}

/// The dependencies, which need not be sorted here: [`super::scan`] asks for that.
pub(crate) fn read_deps(reader: &mut Reader<'_>) -> Result<Vec<Digest>, Refused> {
    reader.part("dependencies");
    let at = *reader;
    let count = reader.unsigned()?;
    if count > limits::CHANGE_DEPS as u64 {
        return Err(at.refuse(Reason::TooManyDeps { found: count }));
    }
    // All of them must really be there before room is made for them.
    let mut bytes = reader.window(count * 32, "dependencies")?;
    let mut deps = Vec::with_capacity(bytes.rest().len() / 32);
    while !bytes.is_empty() {
        deps.push(Digest(bytes.array()?));
    }
    Ok(deps)
}

/// An actor id with its length.
pub(crate) fn read_actor<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Refused> {
    reader.part("actor");
    let at = *reader;
    let length = reader.unsigned()?;
    if length == 0 || length > ACTOR_BYTES as u64 {
        return Err(at.refuse(Reason::BadActor));
    }
    reader.take(length)
}

/// The hash of a whole chunk whose length is in its shortest form: over all but magic and checksum.
fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes.get(UNHASHED..).unwrap_or_default()).into())
}
