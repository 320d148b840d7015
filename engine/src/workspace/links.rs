//! What holds between objects: values that no two may share, and references to what somebody deleted. Both are found
//! on the stage, by an index that the same transaction keeps, and only ever ask: neither side is refused for it.

use super::admit::Ledgered;
use super::card_kind::CardKind;
use super::local::key_of;
use super::stage::{Stage, StagedObject};
use super::{Engine, Event, ObjectKey};
use crate::document;
use crate::judgement::{self, Target};
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, CardRow, LinksRow, ObjectRow, TargetRow};
use crate::store::tables::{Table, key};
use automerge::Automerge;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use syncd_schema::manifest::Manifest;
use syncd_schema::{Collection, Digest, ObjectId, UnixMicros, cbor, domain};

/// Objects of one commit, as it will leave them.
type Staged = BTreeMap<ObjectKey, StagedObject>;

/// What a commit changes about links.
#[derive(Default)]
struct Changed {
    /// Objects by their links before and after.
    links: BTreeMap<ObjectKey, (LinksRow, LinksRow)>,
    /// Objects that were deleted, or are no longer.
    ends: BTreeSet<(Collection, ObjectId)>,
}

impl Engine {
    /// Brings the index of links up to date with a commit, and opens and ends the cards about them.
    pub(super) fn update_links(&mut self, stage: &mut Stage, objects: &Staged) -> Result<(), StoreError> {
        let mut changed = Changed::default();
        for (key, staged) in objects {
            if staged.may_end_or_return() {
                changed.ends.insert((key.1.clone(), key.0.clone()));
            }
            let Some(after) = self.links_of(staged) else { continue };
            let before: Option<LinksRow> = match staged.is_new {
                true => None,
                false => rows::read(&self.store, Table::Links, &key::links(key))?,
            };
            let before = before.unwrap_or_default();
            if before != after {
                write_links(stage, key, &before, &after);
                changed.links.insert(key.clone(), (before, after));
            }
        }
        self.update_shared(stage, &changed)?;
        self.update_dangling(stage, objects, &changed)
    }

    /// The links of an object on the stage; none if its manifest has none, or it did not change.
    fn links_of(&self, staged: &StagedObject) -> Option<LinksRow> {
        let manifest = self.governance().manifests.get(&staged.row.collection)?;
        if manifest.unique.is_empty() && manifest.references.is_empty() && !staged.rejudged {
            return None;
        }
        if staged.admitted.is_empty() && !staged.row_changed {
            return None;
        }
        Some(links_in(&staged.row, staged.known(), manifest))
    }

    /// What the index has to say of an object, by key.
    pub(super) fn expected_links(
        &self,
        row: &ObjectRow,
        doc: &Automerge,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let Some(manifest) = self.governance().manifests.get(&row.collection) else {
            return Ok(BTreeMap::new());
        };
        let whole = self.whole_document(row, doc)?;
        let links = links_in(row, whole.as_ref().unwrap_or(doc), manifest);
        if links == LinksRow::default() {
            return Ok(BTreeMap::new());
        }
        let object = key_of(row);
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> =
            index_keys(&object, &links).into_iter().map(|at| (at, Vec::new())).collect();
        expected.insert(key::links(&object), cbor::encode(&links));
        Ok(expected)
    }

    /// Cards about values that several objects share.
    fn update_shared(&mut self, stage: &mut Stage, changed: &Changed) -> Result<(), StoreError> {
        let touched: BTreeSet<Digest> = changed
            .links
            .values()
            .flat_map(|(before, after)| before.unique.iter().chain(&after.unique).copied())
            .collect();
        for digest in touched {
            let before = self.sharing(&digest)?;
            let mut after = before.clone();
            for (key, (was, is)) in &changed.links {
                if was.unique.contains(&digest) {
                    after.remove(key);
                }
                if is.unique.contains(&digest) {
                    after.insert(key.clone());
                }
            }
            let old = self.shared_card(&digest, &before);
            let new = self.shared_card(&digest, &after);
            if old == new {
                continue;
            }
            let row = after.first().filter(|_| new.is_some()).map(|key| {
                card_about(stage, key, CardKind::DuplicateKey, AboutRow::Unique(digest), String::new())
            });
            self.exchange(stage, old, new.zip(row))?;
        }
        Ok(())
    }

    /// The objects that have a unique value, as the store knows them.
    pub(super) fn sharing(&self, digest: &Digest) -> Result<BTreeSet<ObjectKey>, StoreError> {
        let keys = self.store.keys(Table::Links, &key::shared_prefix(digest), usize::MAX)?;
        Ok(keys.iter().filter_map(|at| key::parse_object(at.get(33..)?)).collect())
    }

    pub(super) fn shared_card(&self, digest: &Digest, objects: &BTreeSet<ObjectKey>) -> Option<Digest> {
        // Lives of one id are asked about as lives.
        let ids: BTreeSet<&ObjectId> = objects.iter().map(|(id, ..)| id).collect();
        if ids.len() < 2 {
            return None;
        }
        let names: Vec<u8> = objects
            .iter()
            .flat_map(|(id, _, life)| [id.as_str().as_bytes(), &[0], &life.0].concat())
            .collect();
        Some(domain::hash("card", &[self.workspace.as_bytes(), b"unique", &digest.0, &names]))
    }

    /// Cards about references to what was deleted.
    fn update_dangling(
        &mut self,
        stage: &mut Stage,
        objects: &Staged,
        changed: &Changed,
    ) -> Result<(), StoreError> {
        let mut pairs: BTreeSet<(ObjectKey, TargetRow)> = BTreeSet::new();
        for (key, (before, after)) in &changed.links {
            pairs.extend(
                before.targets.iter().chain(&after.targets).map(|target| (key.clone(), target.clone())),
            );
        }
        for (collection, object) in &changed.ends {
            let prefix = key::target_prefix(collection, object);
            for at in self.store.keys(Table::Links, &prefix, usize::MAX)? {
                let Some(source) = at.get(33..).and_then(key::parse_object) else { continue };
                let links: Option<LinksRow> = rows::read(&self.store, Table::Links, &key::links(&source))?;
                let to = |target: &TargetRow| target.collection == *collection && target.object == *object;
                let targets = links.into_iter().flat_map(|links| links.targets).filter(to);
                pairs.extend(targets.map(|target| (source.clone(), target)));
            }
        }
        for (source, target) in pairs {
            let refers = |links: &LinksRow| links.targets.contains(&target);
            let (was, is) = match changed.links.get(&source) {
                Some((before, after)) => (refers(before), refers(after)),
                None => (true, true),
            };
            let was = was && self.is_gone(None, &target)?;
            let is = is && self.is_gone(Some(objects), &target)?;
            if was == is {
                continue;
            }
            let card = self.dangling_card(&source, &target);
            let opened = is.then(|| {
                let (path, about) = (target.path.clone(), AboutRow::Dangling(target.clone()));
                (card, card_about(stage, &source, CardKind::DanglingReference, about, path))
            });
            self.exchange(stage, was.then_some(card), opened)?;
        }
        Ok(())
    }

    /// The open cards about what an object shares with others and refers to. They are found by the index, since they are
    /// about several objects and stand with none.
    pub(super) fn linked_cards(&self, row: &ObjectRow) -> Result<Vec<Digest>, StoreError> {
        let object = key_of(row);
        let has_links = |manifest: &Manifest| !manifest.unique.is_empty() || !manifest.references.is_empty();
        if !self.governance().manifests.get(&row.collection).is_some_and(has_links) {
            return Ok(Vec::new());
        }
        let links: Option<LinksRow> = rows::read(&self.store, Table::Links, &key::links(&object))?;
        let mut cards = Vec::new();
        let links = links.unwrap_or_default();
        for digest in &links.unique {
            cards.extend(self.shared_card(digest, &self.sharing(digest)?));
        }
        for target in &links.targets {
            if self.is_gone(None, target)? {
                cards.push(self.dangling_card(&object, target));
            }
        }
        Ok(cards)
    }

    pub(super) fn dangling_card(&self, source: &ObjectKey, target: &TargetRow) -> Digest {
        let parts: [&[u8]; 3] = [
            target.path.as_bytes(),
            target.collection.as_str().as_bytes(),
            target.object.as_str().as_bytes(),
        ];
        self.card_of(source, "dangling", &[domain::hash("target", &parts)])
    }

    /// Whether an object was deleted. One that was never heard of may still arrive.
    pub(super) fn is_gone(&self, staged: Option<&Staged>, target: &TargetRow) -> Result<bool, StoreError> {
        let mut lives: Vec<ObjectRow> = self.all_lives(&target.object)?;
        for one in staged.into_iter().flatten().map(|(_, staged)| staged) {
            if one.row.object == target.object {
                lives.retain(|row| key_of(row) != key_of(&one.row));
                lives.push(one.row.clone());
            }
        }
        lives.retain(|row| row.collection == target.collection);
        Ok(!lives.is_empty() && lives.iter().all(ObjectRow::is_tombstoned))
    }

    /// Ends one card and opens another, which takes its place if it is about the same.
    fn exchange(
        &mut self,
        stage: &mut Stage,
        old: Option<Digest>,
        new: Option<(Digest, CardRow)>,
    ) -> Result<(), StoreError> {
        let mut new = new;
        if let Some(card) = old
            && let Some(row) = self.card_row(Some(stage), &card)?.filter(|row| row.end.is_none())
        {
            if let Some((_, next)) = &mut new {
                next.before.push(card);
            }
            let by = stage.decided_about(&card, None);
            self.end_card(stage, card, row, new.iter().map(|(card, _)| *card).collect(), by);
        }
        if let Some((card, row)) = new {
            self.open_card(stage, card, &row);
        }
        Ok(())
    }

    /// Judges every object of a collection anew when its manifest asks for other things than it was judged by.
    pub(super) fn rejudge(&mut self, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        if self.judged_under == self.governance().heads {
            return Ok(Vec::new());
        }
        let mut events = Vec::new();
        let rules = Arc::clone(&self.rules);
        let mut marks = Vec::new();
        for (collection, manifest) in &rules.governance.manifests {
            let asked = serde_json::to_vec(manifest).unwrap_or_default();
            let (digest, at) =
                (domain::sha256(&asked).0.to_vec(), [b"judged/", collection.as_str().as_bytes()].concat());
            if self.store.get(Table::Keys, &at)?.as_ref() == Some(&digest) {
                continue;
            }
            marks.push((at, digest));
            let names = self.store.keys(Table::Names, &key::name_prefix(collection), usize::MAX)?;
            for part in names.chunks(REJUDGED_AT_ONCE) {
                let mut stage = self.stage(now);
                for name in part {
                    let Some(object) = key::parse_name(name) else { continue };
                    if self.holds_back(&object) {
                        self.carry_out(&mut stage, &object, Vec::new(), Ledgered::default())?;
                    }
                    if let Some(staged) = self.staged_object(&mut stage, &object)? {
                        staged.row_changed = true;
                        staged.rejudged = true;
                    }
                }
                events.extend(self.commit(stage)?);
            }
        }
        if !marks.is_empty() {
            let mut stage = self.stage(now);
            marks.into_iter().for_each(|(at, digest)| stage.batch.put(Table::Keys, at, digest));
            events.extend(self.commit(stage)?);
        }
        self.judged_under.clone_from(&self.rules.governance.heads);
        Ok(events)
    }
}

/// Objects that are judged anew in one commit: their documents are in memory together.
const REJUDGED_AT_ONCE: usize = 64;

fn links_in(row: &ObjectRow, doc: &Automerge, manifest: &Manifest) -> LinksRow {
    if row.is_tombstoned() || manifest.unique.is_empty() && manifest.references.is_empty() {
        return LinksRow::default();
    }
    let value = document::read_with(doc, manifest);
    let target = |Target { path, collection, object }: Target| TargetRow { path, collection, object };
    LinksRow {
        unique: judgement::unique_keys(&value, manifest).into_iter().map(|unique| unique.digest).collect(),
        targets: judgement::references(&value, manifest).into_iter().map(target).collect(),
    }
}

fn write_links(stage: &mut Stage, object: &ObjectKey, before: &LinksRow, after: &LinksRow) {
    for at in index_keys(object, before) {
        stage.batch.delete(Table::Links, at);
    }
    for at in index_keys(object, after) {
        stage.batch.put(Table::Links, at, Vec::new());
    }
    match *after == LinksRow::default() {
        true => stage.batch.delete(Table::Links, key::links(object)),
        false => stage.batch.put(Table::Links, key::links(object), cbor::encode(after)),
    }
}

/// Where the index names an object.
fn index_keys(object: &ObjectKey, links: &LinksRow) -> Vec<Vec<u8>> {
    let name = key::object(&object.0, &object.1, &object.2);
    let shared = links.unique.iter().map(|digest| [key::shared_prefix(digest), name.clone()].concat());
    let targets = links
        .targets
        .iter()
        .map(|target| [key::target_prefix(&target.collection, &target.object), name.clone()].concat());
    let all: BTreeSet<Vec<u8>> = shared.chain(targets).collect();
    all.into_iter().collect()
}

fn card_about(stage: &Stage, object: &ObjectKey, kind: CardKind, about: AboutRow, path: String) -> CardRow {
    CardRow {
        object: object.0.clone(),
        collection: object.1.clone(),
        incarnation: object.2,
        kind: kind as u8,
        path,
        about,
        opened: stage.now,
        before: Vec::new(),
        generation: 0,
        end: None,
    }
}
