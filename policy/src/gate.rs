//! The gate: the only maker of grants, and a cache in front of the policies.
//!
//! Start with [`Gate::compile`], once for each set of bundles, then [`Gate::decide`] for each operation. Both are
//! pure: they answer from what they are given, and a fresh gate answers the same.

use crate::check::{self, Named, PolicyError};
use crate::decision::{Decision, Verdict};
use crate::grant::{Grant, Refusal};
use crate::layer::{CROWDED, DEFAULT_BUNDLE, FLOOR, Layer, Stack, Text, built_in};
use crate::normal::Normal;
use crate::request::{Action, Base, Origin, Request};
use crate::shape;
use cedar_policy::{Entities, Schema};
use lru::LruCache;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{Actor, DeviceId, Digest, OperationId, Role, domain};

/// Decisions kept: about a kilobyte each. A workspace at work asks a few dozen different questions.
const DECISIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);
/// Compiled policy versions kept: the current one, and those of entries that arrive late.
const VERSIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Compiled policies of one version, for local and for remote changes.
#[derive(Debug)]
pub struct Policies {
    local: Arc<Stack>,
    remote: Arc<Stack>,
}

impl Policies {
    /// The version that decisions name: for remote changes the digest of the bundles, as
    /// [`syncd_schema::Governance::policy_digest`] has it; for local ones with the device's own policy, if any.
    #[must_use]
    pub fn version(&self, origin: Origin) -> Digest {
        self.stack(origin).version
    }

    /// Whether some policy looks at how large a change is.
    #[must_use]
    pub fn sees_size(&self) -> bool {
        [&self.local, &self.remote].into_iter().any(|stack| stack.vocabulary.sees_size())
    }

    /// The ids of the policies asked about changes of an origin, sorted.
    pub fn names(&self, origin: Origin) -> impl Iterator<Item = &str> {
        self.stack(origin).names()
    }

    fn stack(&self, origin: Origin) -> &Arc<Stack> {
        match origin {
            Origin::Local => &self.local,
            Origin::Remote => &self.remote,
        }
    }
}

/// What never changes: the schema, the floor, what stands in for bundles that are too many, the hierarchy of actions.
#[derive(Debug)]
struct Ground {
    schema: Schema,
    floor: Vec<Named>,
    crowded: Vec<Named>,
    entities: Entities,
}

impl Ground {
    fn new() -> Result<Self, PolicyError> {
        let schema = check::schema()?;
        let entities = schema.action_entities().map_err(built_in("schema"))?;
        let own = |what, text: &str| {
            let parsed = check::parse(text).map_err(built_in(what))?;
            check::validate(text, &parsed, &schema).map_err(built_in(what)).map(|_| parsed)
        };
        let (floor, crowded) = (own("floor", FLOOR)?, own("text for too many bundles", CROWDED)?);
        Ok(Self { schema, floor, crowded, entities })
    }

    fn read(&self, text: &str, name: impl FnOnce() -> String) -> Result<Vec<Named>, PolicyError> {
        check::parse(text)
            .and_then(|parsed| check::validate(text, &parsed, &self.schema).map(|_| parsed))
            .map_err(|source| PolicyError::In { name: name(), source: Box::new(source) })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    version: Digest,
    normal: Normal,
}

#[derive(Debug)]
struct Decided {
    decision: Arc<Decision>,
    digest: Digest,
}

impl Decided {
    fn new(decision: Decision) -> Self {
        Self { digest: decision.digest(), decision: Arc::new(decision) }
    }
}

/// Compiles policies, decides, remembers.
#[derive(Debug)]
pub struct Gate {
    ground: Option<Ground>,
    versions: LruCache<Digest, Arc<Policies>>,
    decisions: LruCache<Question, Decided>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A gate that remembers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { ground: None, versions: LruCache::new(VERSIONS), decisions: LruCache::new(DECISIONS) }
    }

    /// The policies under some bundles, by the digest of their text, and the device's own policy. In the place of more
    /// bundles than [`shape::BUNDLES`] stands a text that permits nothing but making room: a device that kept an older
    /// state instead would judge otherwise than the others.
    ///
    /// # Errors
    /// When a bundle is not the text its digest says, or a text is not accepted.
    pub fn compile(
        &mut self,
        bundles: &BTreeMap<Digest, String>,
        device: Option<&str>,
    ) -> Result<Arc<Policies>, PolicyError> {
        let digests: Vec<&[u8]> = bundles.keys().map(|digest| digest.as_bytes().as_slice()).collect();
        let shared = domain::hash("policy", &digests);
        let version = local_version(&shared, device);
        if let Some(known) = self.versions.get(&version) {
            return Ok(Arc::clone(known));
        }
        let ground = match &mut self.ground {
            Some(ground) => ground,
            none => none.insert(Ground::new()?),
        };
        let mut workspace = Vec::with_capacity(bundles.len());
        let asked = if bundles.len() > shape::BUNDLES { None } else { Some(bundles) };
        for (digest, text) in asked.into_iter().flatten() {
            if domain::sha256(text.as_bytes()) != *digest {
                return Err(PolicyError::WrongDigest { named: *digest });
            }
            workspace.push((*digest, ground.read(text, || format!("bundle {}", digest.short()))?));
        }
        let own = device.map(|text| ground.read(text, || "this device's policy".to_owned())).transpose()?;

        let mut texts: Vec<Text<'_>> = vec![(Layer::Floor, None, &ground.floor)];
        texts.extend(
            workspace.iter().map(|(digest, named)| (Layer::Workspace, Some(*digest), named.as_slice())),
        );
        if asked.is_none() {
            texts.push((Layer::Workspace, None, &ground.crowded));
        }
        let remote = Arc::new(Stack::new(shared, &texts, ground.entities.clone())?);
        let local = match &own {
            Some(own) => {
                texts.push((Layer::Device, None, own));
                Arc::new(Stack::new(version, &texts, ground.entities.clone())?)
            }
            None => Arc::clone(&remote),
        };
        let policies = Arc::new(Policies { local, remote });
        self.versions.put(version, Arc::clone(&policies));
        Ok(policies)
    }

    /// Decides about one operation.
    ///
    /// # Errors
    /// When some layer does not permit it, a policy forbids it or asks for review, or one cannot be evaluated.
    pub fn decide(
        &mut self,
        policies: &Arc<Policies>,
        operation: OperationId,
        request: &Request<'_>,
    ) -> Result<Grant, Refusal> {
        let stack = policies.stack(request.origin);
        let question = Question { version: stack.version, normal: stack.vocabulary.reduce(request) };
        if let Some(decided) = self.decisions.get(&question) {
            return answer(decided, operation, request.action);
        }
        let decided = Decided::new(stack.decide(&question.normal));
        let result = answer(&decided, operation, request.action);
        if question.normal.is_small() {
            self.decisions.put(question, decided);
        }
        result
    }

    /// Decides once more what was decided before, from the inputs that the decision recorded. None where these policies
    /// do not record such inputs: then they are not the ones that decided.
    #[must_use]
    pub fn again(policies: &Policies, origin: Origin, inputs: &BTreeMap<String, String>) -> Option<Decision> {
        let stack = policies.stack(origin);
        stack.vocabulary.recall(inputs).map(|normal| stack.decide(&normal))
    }

    /// Admits the genesis of a workspace, which no policy can be asked about because it brings the first ones.
    pub fn genesis(operation: OperationId) -> Grant {
        let decided = Decided::new(Decision {
            verdict: Verdict::Allow,
            policies: vec!["floor.genesis".to_owned()],
            errors: Vec::new(),
            policy_version: domain::sha256(FLOOR.as_bytes()),
            inputs: BTreeMap::from([("action".to_owned(), "genesis".to_owned())]),
            reasons: vec!["A workspace begins with its genesis.".to_owned()],
            advice: Vec::new(),
        });
        Grant::new(operation, decided.decision, decided.digest, None)
    }
}

fn answer(decided: &Decided, operation: OperationId, action: Action) -> Result<Grant, Refusal> {
    let decision = Arc::clone(&decided.decision);
    match decision.verdict {
        Verdict::Allow => Ok(Grant::new(operation, decision, decided.digest, Some(action))),
        verdict => Err(Refusal { decision, digest: decided.digest, verdict, operation, action }),
    }
}

/// Whether so many bundles may be in force together.
///
/// # Errors
/// When they are more than are evaluated: with one more nothing would be permitted but making room.
pub const fn have_room(bundles: usize) -> Result<(), PolicyError> {
    if bundles > shape::BUNDLES { Err(PolicyError::TooManyBundles { found: bundles }) } else { Ok(()) }
}

/// The version that decisions about local changes name, under bundles of this version and a device's own policy.
#[must_use]
pub fn local_version(bundles: &Digest, device: Option<&str>) -> Digest {
    device.map_or(*bundles, |text| {
        domain::hash("policy-device", &[bundles.as_bytes(), domain::sha256(text.as_bytes()).as_bytes()])
    })
}

/// The bundle of a new workspace as [`Gate::compile`] takes it.
#[must_use]
pub fn default_bundles() -> BTreeMap<Digest, String> {
    one_bundle(DEFAULT_BUNDLE)
}

fn one_bundle(text: &str) -> BTreeMap<Digest, String> {
    BTreeMap::from([(domain::sha256(text.as_bytes()), text.to_owned())])
}

/// Whether an owner could put another bundle in the place of all of these, from a device and with a text of a size.
/// What nobody could replace would be in force for ever.
///
/// # Errors
/// When the bundles are not accepted.
pub fn owner_may_replace(
    bundles: &BTreeMap<Digest, String>,
    owner: &Actor,
    device: DeviceId,
    size: u64,
) -> Result<bool, PolicyError> {
    let policies = Gate::new().compile(bundles, None)?;
    let request = Request {
        action: Action::Bundle,
        origin: Origin::Local,
        actor: owner,
        device,
        role: Some(Role::Owner),
        target_role: None,
        collection: None,
        object: None,
        class: PolicyClass::default(),
        scope: EncryptionScope::default(),
        strategy: MergeStrategy::default(),
        changed: &[],
        size,
        base: Base::NotNeeded,
        touches_dangerous: false,
        weakens: true,
        argued: false,
        replaces: false,
        has_authority: true,
    };
    let normal = policies.local.vocabulary.reduce(&request);
    Ok(policies.local.decide(&normal).verdict == Verdict::Allow)
}

/// As [`owner_may_replace`], of a text as the only bundle and of an owner whose name and device no policy knows.
pub(crate) fn some_owner_may_replace(text: &str) -> Result<bool, PolicyError> {
    let Ok(owner) = "user:owner".parse::<Actor>() else { return Ok(false) };
    owner_may_replace(&one_bundle(text), &owner, DeviceId([0; 32]), text.len() as u64)
}
