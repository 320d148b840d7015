//! A request reduced to what the policies can tell apart.
//!
//! The reduced request is the key of the decision cache, the inputs that a decision records, and — this is what
//! makes the cache safe — the only thing that is evaluated. Two requests that reduce alike get one decision because
//! Cedar is asked one question for both.

mod replay;
mod space;

use crate::check::PolicyError;
use crate::recall;
use crate::request::{self, Action, Request, Resource};
use crate::seen::{Seen, View};
use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::DeviceId;

/// All context attributes but `size`, `changed` and `fields`.
pub(crate) const ATTRIBUTES: [&str; 14] = [
    "role",
    "targetRole",
    "origin",
    "class",
    "scope",
    "strategy",
    "base",
    "dangerous",
    "weakens",
    "argued",
    "replaces",
    "authority",
    "device",
    "collection",
];
/// The first of them are words of a closed set: the entity type of each, and its words.
const WORDS: [(&str, &[&str]); 7] = [
    ("Role", &request::ROLES),
    ("Role", &request::ROLES),
    ("Origin", &request::ORIGINS),
    ("Class", &request::CLASSES),
    ("Scope", &request::SCOPES),
    ("Strategy", &request::STRATEGIES),
    ("Base", &request::BASES),
];
/// Those that are true or false.
const FLAGS: [&str; 5] = ["dangerous", "weakens", "argued", "replaces", "authority"];
/// The word of an attribute that no policy reads.
const UNSEEN: u8 = u8::MAX;
/// Paths in a key that the cache still takes: a key is memory, and longer lists hardly repeat.
const CACHED_PATHS: usize = 32;

/// A request as the policies see it. Whatever they do not see has one fixed value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Normal {
    action: Action,
    resource: Resource,
    kind: u8,
    /// Position among the ids that policies name, from 1; 0 stands for all others.
    actor: u16,
    object: u16,
    device: u16,
    collection: u16,
    words: [u8; 7],
    flags: [Option<bool>; FLAGS.len()],
    size: Option<i64>,
    changed: Vec<String>,
    fields: Vec<String>,
}

impl Normal {
    /// Whether the cache takes it as a key.
    pub(crate) fn is_small(&self) -> bool {
        self.changed.len() + self.fields.len() <= CACHED_PATHS
    }
}

/// Turns requests into reduced ones, and those into questions for Cedar.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    seen: Seen,
    reads: [bool; ATTRIBUTES.len()],
    words: Vec<Vec<RestrictedExpression>>,
    actions: Vec<EntityUid>,
    kinds: Vec<Ids>,
    objects: Ids,
    devices: Ids,
    collections: Ids,
    workspace: EntityUid,
}

/// Ids of one entity type that policies name, and one that they do not.
#[derive(Debug)]
struct Ids {
    known: Vec<String>,
    /// The entity of each; the first is that of all other ids.
    entities: Vec<EntityUid>,
}

impl Ids {
    fn new(seen: &Seen, kind: &str) -> Result<Self, PolicyError> {
        let known: Vec<String> = seen.ids.get(kind).into_iter().flatten().cloned().collect();
        // Longer than every known one, so equal to none.
        let longest = known.iter().map(String::len).max().unwrap_or(0);
        let other = "*".repeat(longest + 1);
        let entities =
            std::iter::once(&other).chain(&known).map(|id| entity(kind, id)).collect::<Result<_, _>>()?;
        Ok(Self { known, entities })
    }

    fn find(&self, id: &str) -> u16 {
        let found = self.known.binary_search_by(|known| known.as_str().cmp(id));
        found.ok().and_then(|index| u16::try_from(index + 1).ok()).unwrap_or(0)
    }

    fn find_device(&self, device: &DeviceId) -> u16 {
        if self.known.is_empty() { 0 } else { self.find(&device.to_string()) }
    }

    /// The entity at a position that [`Ids::find`] gave.
    fn entity(&self, index: u16) -> Option<EntityUid> {
        self.entities.get(usize::from(index)).cloned()
    }

    fn name(&self, index: u16) -> &str {
        usize::from(index).checked_sub(1).and_then(|at| self.known.get(at)).map_or("(other)", String::as_str)
    }
}

fn entity(kind: &str, id: &str) -> Result<EntityUid, PolicyError> {
    let kind: EntityTypeName = kind.parse().map_err(|error: cedar_policy::ParseErrors| {
        PolicyError::BuiltIn { what: "entity type", message: error.to_string() }
    })?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

impl Vocabulary {
    pub(crate) fn sees_size(&self) -> bool {
        !self.seen.size.is_blind()
    }

    pub(crate) fn new(seen: Seen) -> Result<Self, PolicyError> {
        let word = |(kind, words): &(&str, &[&str])| {
            let one = |word: &&str| entity(kind, word).map(RestrictedExpression::new_entity_uid);
            words.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            reads: ATTRIBUTES.map(|name| seen.attributes.contains(name)),
            words: WORDS.iter().map(word).collect::<Result<_, _>>()?,
            actions: Action::ALL.iter().map(|a| entity("Action", a.word())).collect::<Result<_, _>>()?,
            kinds: request::KINDS.iter().map(|kind| Ids::new(&seen, kind)).collect::<Result<_, _>>()?,
            objects: Ids::new(&seen, "Object")?,
            devices: Ids::new(&seen, "Device")?,
            collections: Ids::new(&seen, "Collection")?,
            workspace: entity("Workspace", "this")?,
            seen,
        })
    }

    /// Reduces a request.
    pub(crate) fn reduce(&self, request: &Request<'_>) -> Normal {
        let [role, target, origin, class, scope, strategy, base, rest @ ..] = self.reads;
        let [dangerous, weakens, argued, replaces, authority, device, collection] = rest;
        let word = |read: bool, index: u8| if read { index } else { UNSEEN };
        let kind = request::kind_index(request.actor.kind);
        let resource = request.action.resource(request.object.is_some());
        let object =
            request.object.filter(|_| resource == Resource::Object).map_or("", |object| object.as_str());
        Normal {
            action: request.action,
            resource,
            kind,
            actor: self.kinds.get(usize::from(kind)).map_or(0, |ids| ids.find(request.actor.id())),
            object: self.objects.find(object),
            device: if device { self.devices.find_device(&request.device) } else { 0 },
            collection: if collection {
                self.collections.find(request.collection.map_or("", |collection| collection.as_str()))
            } else {
                0
            },
            words: [
                word(role, request::role_index(request.role)),
                word(target, request::role_index(request.target_role)),
                word(origin, request.origin as u8),
                word(class, request::class_index(request.class)),
                word(scope, request::scope_index(request.scope)),
                word(strategy, request::strategy_index(request.strategy)),
                word(base, request.base as u8),
            ],
            flags: [
                dangerous.then_some(request.touches_dangerous),
                weakens.then_some(request.weakens),
                argued.then_some(request.argued),
                replaces.then_some(request.replaces),
                authority.then_some(request.has_authority),
            ],
            size: stand_in(&self.seen.size, request.size),
            changed: paths(&self.seen.changed, request.changed, with_ancestors, is_within),
            fields: paths(&self.seen.fields, request.changed, first_steps, |path, field| {
                first_step(path) == field
            }),
        }
    }

    /// The question for Cedar; none if this vocabulary did not make the reduced request.
    pub(crate) fn question(&self, normal: &Normal) -> Result<cedar_policy::Request, String> {
        let unknown = || "the request is of another policy version".to_owned();
        let principal = self
            .kinds
            .get(usize::from(normal.kind))
            .and_then(|ids| ids.entity(normal.actor))
            .ok_or_else(unknown)?;
        let action = Action::ALL.iter().position(|action| *action == normal.action);
        let action = action.and_then(|index| self.actions.get(index)).ok_or_else(unknown)?.clone();
        let resource = match normal.resource {
            Resource::Object => self.objects.entity(normal.object).ok_or_else(unknown)?,
            Resource::Workspace => self.workspace.clone(),
        };
        let mut pairs: Vec<(String, RestrictedExpression)> = Vec::with_capacity(16);
        for ((name, words), index) in ATTRIBUTES.iter().zip(&self.words).zip(normal.words) {
            if let Some(word) = words.get(usize::from(index)) {
                pairs.push(((*name).to_owned(), word.clone()));
            }
        }
        for (name, flag) in FLAGS.into_iter().zip(normal.flags) {
            pairs.extend(flag.map(|flag| (name.to_owned(), RestrictedExpression::new_bool(flag))));
        }
        let [.., reads_device, reads_collection] = self.reads;
        for (name, read, ids, index) in [
            ("device", reads_device, &self.devices, normal.device),
            ("collection", reads_collection, &self.collections, normal.collection),
        ] {
            if read {
                let id = ids.entity(index).ok_or_else(unknown)?;
                pairs.push((name.to_owned(), RestrictedExpression::new_entity_uid(id)));
            }
        }
        pairs.extend(normal.size.map(|size| ("size".to_owned(), RestrictedExpression::new_long(size))));
        for (name, view, paths) in
            [("changed", &self.seen.changed, &normal.changed), ("fields", &self.seen.fields, &normal.fields)]
        {
            if !view.is_blind() {
                let paths = paths.iter().cloned().map(RestrictedExpression::new_string);
                pairs.push((name.to_owned(), RestrictedExpression::new_set(paths)));
            }
        }
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        cedar_policy::Request::new(principal, action, resource, context, None)
            .map_err(|error| error.to_string())
    }

    /// What was seen, in words, for the record.
    pub(crate) fn inputs(&self, normal: &Normal) -> BTreeMap<String, String> {
        let mut inputs = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(inputs.insert(name.to_owned(), value));
        put("action", normal.action.word().to_owned());
        let kind = request::KINDS.get(usize::from(normal.kind)).copied().unwrap_or_default();
        put("actor", named(&kind.to_lowercase(), self.kinds.get(usize::from(normal.kind)), normal.actor));
        put(
            "resource",
            match normal.resource {
                Resource::Object => named("object", Some(&self.objects), normal.object),
                Resource::Workspace => "workspace".to_owned(),
            },
        );
        for ((name, (_, words)), index) in ATTRIBUTES.iter().zip(WORDS).zip(normal.words) {
            if let Some(word) = words.get(usize::from(index)) {
                put(name, (*word).to_owned());
            }
        }
        for (name, flag) in FLAGS.into_iter().zip(normal.flags) {
            if let Some(flag) = flag {
                put(name, flag.to_string());
            }
        }
        let [.., reads_device, reads_collection] = self.reads;
        if reads_device {
            put("device", self.devices.name(normal.device).to_owned());
        }
        if reads_collection {
            put("collection", self.collections.name(normal.collection).to_owned());
        }
        if let Some(size) = normal.size {
            put("size", range(&self.seen.size, size));
        }
        for (name, view, paths) in
            [("changed", &self.seen.changed, &normal.changed), ("fields", &self.seen.fields, &normal.fields)]
        {
            if !view.is_blind() {
                put(name, recall::joined(paths));
            }
        }
        inputs
    }
}

/// A kind, and the id where policies name ids of that kind.
fn named(kind: &str, ids: Option<&Ids>, index: u16) -> String {
    match ids.filter(|ids| !ids.known.is_empty()) {
        Some(ids) => format!("{kind}:{}", ids.name(index)),
        None => kind.to_owned(),
    }
}

/// The smallest size that no policy tells from this one.
fn stand_in(view: &View<i64>, size: u64) -> Option<i64> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    match view {
        View::Exact => Some(size),
        View::Constants(known) if known.is_empty() => None,
        View::Constants(known) => match known.range(..=size).next_back() {
            Some(constant) if *constant == size => Some(size),
            Some(constant) => Some(constant.saturating_add(1).max(0)),
            None => Some(0),
        },
    }
}

/// The sizes that share a stand-in, in words.
fn range(view: &View<i64>, size: i64) -> String {
    let View::Constants(known) = view else { return size.to_string() };
    if known.contains(&size) {
        return size.to_string();
    }
    match known.range(size..).next() {
        Some(next) if next - 1 == size => size.to_string(),
        Some(next) => format!("{size}..{}", next - 1),
        None => format!("{size}.."),
    }
}

/// The paths policies see: all of them, or those constants that `holds` for some changed pointer.
fn paths(
    view: &View<String>,
    changed: &[String],
    all: fn(&[String]) -> BTreeSet<String>,
    holds: fn(&str, &str) -> bool,
) -> Vec<String> {
    match view {
        View::Exact => all(changed).into_iter().collect(),
        View::Constants(known) => known
            .iter()
            .filter(|constant| changed.iter().any(|path| holds(path, constant)))
            .cloned()
            .collect(),
    }
}

/// Whether `path` is `ancestor` or lies within it. The whole object, `""`, counts as itself only: it is an ancestor
/// of everything, which would say nothing.
fn is_within(path: &str, ancestor: &str) -> bool {
    match path.strip_prefix(ancestor) {
        Some("") => true,
        Some(rest) => !ancestor.is_empty() && rest.starts_with('/'),
        None => false,
    }
}

fn with_ancestors(changed: &[String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in changed {
        let cuts = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| at);
        all.extend(cuts.filter_map(|at| path.get(..at)).map(str::to_owned));
        all.insert(path.clone());
    }
    all
}

fn first_steps(changed: &[String]) -> BTreeSet<String> {
    changed.iter().map(|path| first_step(path).to_owned()).collect()
}

fn first_step(path: &str) -> &str {
    let end = path.char_indices().skip(1).find(|(_, c)| *c == '/').map_or(path.len(), |(at, _)| at);
    path.get(..end).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_between_constants_share_a_stand_in() {
        let view = View::Constants(BTreeSet::from([-5, 10, 11, 100]));
        let stand_ins = [0, 9, 10, 11, 12, 99, 100, 101, u64::MAX].map(|size| stand_in(&view, size));
        assert_eq!(stand_ins, [0, 0, 10, 11, 12, 12, 100, 101, 101].map(Some));
        let words = [0, 10, 11, 12, 100, 101].map(|size| range(&view, size));
        assert_eq!(words, ["0..9", "10", "11", "12..99", "100", "101.."]);
        assert_eq!(stand_in(&View::Exact, u64::MAX), Some(i64::MAX));
        assert_eq!(stand_in(&View::default(), 7), None);
    }

    #[test]
    fn a_change_within_a_field_is_a_change_of_it() {
        assert!(is_within("/pay/base", "/pay") && is_within("/pay", "/pay"));
        assert!(!is_within("/payroll", "/pay") && !is_within("/pay", "/pay/base") && !is_within("/pay", ""));
        let changed = ["/a/b/c".to_owned(), String::new()];
        assert_eq!(with_ancestors(&changed), ["", "/a", "/a/b", "/a/b/c"].map(str::to_owned).into());
        assert_eq!(first_steps(&changed), ["", "/a"].map(str::to_owned).into());
    }

    #[test]
    fn both_ways_of_seeing_paths_agree() {
        let changed = ["/a/b/c".to_owned(), "/d".to_owned(), String::new(), "/é/x".to_owned()];
        let asked: BTreeSet<String> =
            ["", "/", "/a", "/a/b", "/a/c", "/d", "/d/e", "/é"].map(str::to_owned).into();
        let constants = paths(&View::Constants(asked.clone()), &changed, with_ancestors, is_within);
        let all = with_ancestors(&changed);
        assert_eq!(constants, asked.intersection(&all).cloned().collect::<Vec<_>>());
    }

    #[test]
    fn an_id_no_policy_names_equals_none_that_one_names() {
        let mut seen = Seen::default();
        seen.ids.insert("Object".into(), ["", "*", "**"].map(str::to_owned).into());
        let ids = Ids::new(&seen, "Object").expect("ids");
        assert_eq!((ids.find("*"), ids.find("x")), (2, 0));
        assert!(!ids.entities[1..].contains(&ids.entities[0]));
        assert_eq!(ids.name(0), "(other)");
    }
}
