//! What the operations of a document are: containers, list items, values and where they stand.
//!
//! Automerge can be asked whether an operation exists and not what it is, so the rules of [`super::semantics`] need this
//! beside the document. It is read from the saved document once ([`super::saved`]), grows with each change that is let in
//! for what that change has, and can be taken back to where a batch began. Typing is one run however long it is; all else
//! takes 24 bytes an operation. Deletions and increments are no values, nothing may refer to them, and they are left out.

use automerge::{Automerge, ChangeHash};
use std::collections::HashMap;
use syncd_schema::Digest;

/// An actor by its number in an index.
pub(super) type ActorNo = u32;
/// A container by its number in an index.
pub(super) type ContainerNo = u32;

/// The root's number.
pub(super) const ROOT: ContainerNo = 0;

/// What a container takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Map,
    List,
    Text,
}

/// Something that others can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) shape: Shape,
    /// How many containers it is in.
    pub(super) depth: u32,
}

/// Where values exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A key of a map.
    Name(u32),
    /// An item of a list or text, by what inserted it.
    Item(ActorNo, u32),
}

/// What somebody may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Scalar,
    Counter,
    Container,
}

/// The value that an operation wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) container: ContainerNo,
    pub(super) slot: Slot,
    pub(super) what: What,
    /// Whether it began its slot: others may be inserted behind it.
    pub(super) inserts: bool,
}

/// Values of one actor with following numbers: one, or scalars that were inserted into one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    count: u32,
    container: ContainerNo,
    /// None where each is its own item.
    slot: Option<Slot>,
    what: What,
}

/// How things were when a batch began.
#[derive(Clone, Debug, Default)]
struct Before {
    heads: Vec<Digest>,
    actors: usize,
    containers: usize,
    names: usize,
    /// By actor the number of runs, and how long the last one was.
    runs: HashMap<ActorNo, (usize, u32)>,
}

/// The operations of one document.
#[derive(Clone, Debug)]
pub struct Index {
    /// The heads of the document that it knows, sorted.
    heads: Vec<Digest>,
    actors: HashMap<Vec<u8>, ActorNo>,
    runs: Vec<Vec<Run>>,
    containers: Vec<Container>,
    made: HashMap<(ActorNo, u32), ContainerNo>,
    names: HashMap<String, u32>,
    /// How many runs there are, and how long all names are together: its size is asked for with each batch.
    run_count: usize,
    name_bytes: usize,
    before: Before,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            heads: Vec::new(),
            actors: HashMap::new(),
            runs: Vec::new(),
            containers: vec![Container { shape: Shape::Map, depth: 0 }],
            made: HashMap::new(),
            names: HashMap::new(),
            run_count: 0,
            name_bytes: 0,
            before: Before::default(),
        }
    }
}

impl Index {
    /// Whether it knows exactly what a document holds.
    pub(crate) fn is_of(&self, doc: Option<&Automerge>) -> bool {
        let mut heads: Vec<Digest> = doc
            .map(Automerge::get_heads)
            .into_iter()
            .flatten()
            .map(|head: ChangeHash| Digest(head.0))
            .collect();
        heads.sort_unstable();
        heads == self.heads
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.run_count * size_of::<Run>()
            + self.name_bytes
            + self.names.len() * 48
            + self.containers.len() * 40
            + self.actors.len() * 96
    }

    pub(super) fn heads(&self) -> &[Digest] {
        &self.heads
    }

    /// A change was let in that builds on these.
    pub(super) fn advance(&mut self, change: Digest, deps: &[Digest]) {
        self.heads.retain(|head| deps.binary_search(head).is_err());
        if let Err(at) = self.heads.binary_search(&change) {
            self.heads.insert(at, change);
        }
    }

    pub(super) fn set_heads(&mut self, heads: Vec<Digest>) {
        self.heads = heads;
    }

    pub(super) fn actor(&self, actor: &[u8]) -> Option<ActorNo> {
        self.actors.get(actor).copied()
    }

    pub(super) fn actor_or_new(&mut self, actor: &[u8]) -> ActorNo {
        if let Some(no) = self.actors.get(actor) {
            return *no;
        }
        let no = self.runs.len() as ActorNo;
        self.actors.insert(actor.to_vec(), no);
        self.runs.push(Vec::new());
        no
    }

    pub(super) fn actor_count(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn name(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn name_or_new(&mut self, name: &str) -> u32 {
        if let Some(no) = self.names.get(name) {
            return *no;
        }
        let no = self.names.len() as u32;
        self.names.insert(name.to_owned(), no);
        self.name_bytes += name.len();
        no
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn container(&self, no: ContainerNo) -> Option<Container> {
        self.containers.get(no as usize).copied()
    }

    pub(super) fn container_count(&self) -> usize {
        self.containers.len()
    }

    /// The container that an operation made.
    pub(super) fn made_by(&self, actor: ActorNo, counter: u64) -> Option<ContainerNo> {
        self.made.get(&(actor, u32::try_from(counter).ok()?)).copied()
    }

    pub(super) fn add_container(
        &mut self,
        actor: ActorNo,
        counter: u32,
        container: Container,
    ) -> ContainerNo {
        let no = self.containers.len() as ContainerNo;
        self.containers.push(container);
        self.made.insert((actor, counter), no);
        no
    }

    /// The value that an operation wrote, if it wrote one.
    pub(super) fn value(&self, actor: ActorNo, counter: u64) -> Option<Value> {
        let counter = u32::try_from(counter).ok()?;
        let runs = self.runs.get(actor as usize)?;
        let after = runs.partition_point(|run| run.first <= counter);
        let run = runs.get(after.checked_sub(1)?).filter(|run| counter - run.first < run.count)?;
        let slot = run.slot.unwrap_or(Slot::Item(actor, counter));
        Some(Value { container: run.container, slot, what: run.what, inserts: run.slot.is_none() })
    }

    /// Adds a value with a greater number than all of its actor before.
    pub(super) fn add(&mut self, actor: ActorNo, counter: u32, value: Value) {
        let Some(runs) = self.runs.get_mut(actor as usize) else { return };
        let last = runs.last().map_or(0, |run| run.count);
        self.before.runs.entry(actor).or_insert((runs.len(), last));
        let Value { container, slot, what, inserts } = value;
        let slot = (!inserts).then_some(slot);
        if let (Some(run), None, What::Scalar) = (runs.last_mut(), slot, what)
            && (run.container, run.slot, run.what) == (container, None, What::Scalar)
            && run.first.checked_add(run.count) == Some(counter)
        {
            run.count += 1;
            return;
        }
        runs.push(Run { first: counter, count: 1, container, slot, what });
        self.run_count += 1;
    }

    /// From here on changes may be taken back.
    pub(super) fn begin(&mut self) {
        self.before = Before {
            heads: self.heads.clone(),
            actors: self.runs.len(),
            containers: self.containers.len(),
            names: self.names.len(),
            runs: HashMap::new(),
        };
    }

    /// Takes back all since the batch began.
    pub(crate) fn undo(&mut self) {
        let Before { heads, actors, containers, names, runs } = std::mem::take(&mut self.before);
        for (actor, (count, last)) in runs {
            if let Some(runs) = self.runs.get_mut(actor as usize) {
                self.run_count -= runs.len().saturating_sub(count);
                runs.truncate(count);
                if let Some(run) = runs.last_mut() {
                    run.count = last;
                }
            }
        }
        self.heads = heads;
        // Walked only where there is something to forget: most changes bring nothing of the kind.
        if self.runs.len() > actors {
            self.runs.truncate(actors);
            self.actors.retain(|_, no| (*no as usize) < actors);
        }
        if self.containers.len() > containers {
            self.containers.truncate(containers);
            self.made.retain(|_, no| (*no as usize) < containers);
        }
        if self.names.len() > names {
            self.names.retain(|_, no| (*no as usize) < names);
            self.name_bytes = self.names.keys().map(String::len).sum();
        }
        self.begin();
    }
}
