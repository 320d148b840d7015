//! Reduced requests made anew from the inputs that a decision recorded.
//!
//! The inputs are a reduced request in words, so that with the same policies nothing is lost: what is read back must
//! come to the same words, or it is not what was asked.

use super::{ATTRIBUTES, FLAGS, Ids, Normal, UNSEEN, Vocabulary, WORDS};
use crate::layer::FLOOR_INPUT;
use crate::recall::{smallest, split};
use crate::request::{self, Action, Resource};
use std::collections::BTreeMap;

impl Vocabulary {
    /// The reduced request whose inputs these are; none if this vocabulary does not give these inputs to any.
    pub(crate) fn recall(&self, inputs: &BTreeMap<String, String>) -> Option<Normal> {
        let word = |name: &str| inputs.get(name).map(String::as_str);
        let action = Action::ALL.into_iter().find(|action| word("action") == Some(action.word()))?;
        let (kind_word, actor) = id_of(word("actor")?);
        let kind = request::KINDS.iter().position(|kind| kind.to_lowercase() == kind_word)?;
        let (resource_word, object) = id_of(word("resource")?);
        let resource = if resource_word == "workspace" { Resource::Workspace } else { Resource::Object };
        let words = std::array::from_fn(|at| {
            let name = ATTRIBUTES.get(at).copied().unwrap_or_default();
            let known = WORDS.get(at).map(|(_, words)| *words).unwrap_or_default();
            let index = known.iter().position(|known| word(name) == Some(*known));
            index.and_then(|index| u8::try_from(index).ok()).unwrap_or(UNSEEN)
        });
        let find = |ids: &Ids, name: &str| word(name).map_or(0, |id| ids.find(id));
        let normal = Normal {
            action,
            resource,
            kind: u8::try_from(kind).ok()?,
            actor: self.kinds.get(kind)?.find(actor),
            object: if resource == Resource::Object {
                self.objects.find(object)
            } else {
                self.objects.find("")
            },
            device: find(&self.devices, "device"),
            collection: find(&self.collections, "collection"),
            words,
            flags: FLAGS.map(|name| word(name).and_then(|flag| flag.parse().ok())),
            size: word("size").and_then(smallest),
            changed: word("changed").map(split).unwrap_or_default(),
            fields: word("fields").map(split).unwrap_or_default(),
        };
        let asked = self.inputs(&normal);
        let recorded = inputs.iter().filter(|(name, _)| *name != FLOOR_INPUT);
        recorded.eq(asked.iter()).then_some(normal)
    }
}

/// A kind and the id after it, if there is one.
fn id_of(named: &str) -> (&str, &str) {
    named.split_once(':').unwrap_or((named, "(other)"))
}
