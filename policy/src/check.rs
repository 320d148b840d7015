//! One policy text: parsed, named, and checked against the schema, with the place of everything that is wrong.
//!
//! Start with [`check`], which is what `policy check FILE` shows. Compiling uses the same reading, so that a text
//! that passes the check also loads.

use crate::layer::Layer;
use crate::shape;
use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use std::collections::BTreeSet;
use std::fmt;
use syncd_schema::Digest;
use syncd_schema::domain;

/// The schema every policy is checked against.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// A place in a text, counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    fn at(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Something to know about a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where, if it is about a place.
    pub place: Option<Place>,
    /// What.
    pub message: String,
    /// What might help.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Why policy text is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Beyond a bound.
    #[error("{place}: more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
        /// Where the bound is crossed.
        place: Place,
    },
    /// Not Cedar.
    #[error("not a policy text: {}", list(.0))]
    Syntax(Vec<Finding>),
    /// Cedar, but not of this schema.
    #[error("not valid here: {}", list(.0))]
    Invalid(Vec<Finding>),
    /// More bundles in force than this program evaluates.
    #[error("{found} bundles are in force, the limit is {limit}; one that supersedes others makes room", limit = shape::BUNDLES)]
    TooManyBundles {
        /// How many there are.
        found: usize,
    },
    /// A bundle given under a digest that is not its own.
    #[error("the bundle named {named} is another text")]
    WrongDigest {
        /// The digest it was given under.
        named: Digest,
    },
    /// One of several texts is not accepted.
    #[error("{name} is not accepted")]
    In {
        /// Which one, in words.
        name: String,
        /// What is wrong with it.
        source: Box<PolicyError>,
    },
    /// The texts built into this program are broken: a mistake of its authors.
    #[error("the built-in {what} is broken: {message}")]
    BuiltIn {
        /// Which of them.
        what: &'static str,
        /// Cedar's account.
        message: String,
    },
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a text that is accepted contains.
#[derive(Clone, Debug)]
pub struct Report {
    /// The digest it will have as a bundle.
    pub digest: Digest,
    /// Its policies, in order.
    pub policies: Vec<Listed>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Finding>,
}

impl Report {
    fn permits(&self) -> bool {
        self.policies.iter().any(|policy| policy.permits)
    }

    fn warn(mut self, warning: &str) -> Self {
        self.warnings.push(general(warning));
        self
    }
}

/// One policy of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name: the `@id`, or its number from 0.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// Whether it permits; else it forbids.
    pub permits: bool,
    /// Whether it forbids only until somebody has looked.
    pub review: bool,
}

/// Checks a text as a bundle, and looks for what is probably not meant.
///
/// # Errors
/// When it is too large, not Cedar, or speaks of things the schema does not have.
pub fn check(text: &str) -> Result<Report, PolicyError> {
    let report = judged(text)?;
    Ok(if !report.permits() {
        report.warn("no policy here permits anything: as the only text of its layer it refuses every change")
    } else if !crate::gate::some_owner_may_replace(text)? {
        report.warn("on its own this text does not let an owner replace it by another bundle")
    } else {
        report
    })
}

/// As [`check`], of a text as a device's own policy. Its user changes it whatever it says, so only what it permits matters.
///
/// # Errors
/// As [`check`].
pub fn check_own(text: &str) -> Result<Report, PolicyError> {
    let report = judged(text)?;
    let writes_nothing = "no policy here permits anything: under it this device writes nothing; \
                          begin it with permit(principal, action, resource);";
    Ok(if report.permits() { report } else { report.warn(writes_nothing) })
}

/// What a text contains, with every warning about its policies.
fn judged(text: &str) -> Result<Report, PolicyError> {
    let (schema, parsed, mut warnings) = read(text)?;
    // What Cedar has said of a policy is not said twice.
    let said: BTreeSet<Option<Place>> = warnings.iter().map(|warning| warning.place).collect();
    let never = crate::never::find(&parsed, &schema)?;
    warnings.extend(never.into_iter().filter(|finding| !said.contains(&finding.place)));
    warnings.sort();
    Ok(report(text, &parsed, warnings))
}

/// What a text contains, with the warnings that cost nothing.
///
/// # Errors
/// As [`check`].
pub fn contents(text: &str) -> Result<Report, PolicyError> {
    let (_, parsed, warnings) = read(text)?;
    Ok(report(text, &parsed, warnings))
}

fn read(text: &str) -> Result<(Schema, Vec<Named>, Vec<Finding>), PolicyError> {
    let parsed = parse(text)?;
    let schema = schema()?;
    let warnings = validate(text, &parsed, &schema)?;
    Ok((schema, parsed, warnings))
}

fn report(text: &str, parsed: &[Named], warnings: Vec<Finding>) -> Report {
    let listed = |named: &Named| Listed {
        name: named.name.clone(),
        place: named.place,
        permits: named.policy.effect() == Effect::Permit,
        review: named.policy.annotation("review").is_some(),
    };
    let policies = parsed.iter().map(listed).collect();
    Report { digest: domain::sha256(text.as_bytes()), policies, warnings }
}

fn general(message: &str) -> Finding {
    Finding { place: None, message: message.to_owned(), help: None }
}

pub(crate) fn schema() -> Result<Schema, PolicyError> {
    Schema::from_cedarschema_str(SCHEMA)
        .map(|(schema, _)| schema)
        .map_err(|error| PolicyError::BuiltIn { what: "schema", message: error.to_string() })
}

/// One policy of a text, with its name there.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) policy: Policy,
}

impl Named {
    /// The policy's id among those of all layers: the layer, the text, the name.
    pub(crate) fn id(&self, layer: Layer, text: Option<&str>) -> String {
        match text {
            Some(text) => format!("{}.{text}.{}", layer.word(), self.name),
            None => format!("{}.{}", layer.word(), self.name),
        }
    }
}

/// Where the policies of a text begin, once it is known that Cedar can parse it safely.
pub(crate) fn scan(text: &str) -> Result<Vec<usize>, PolicyError> {
    shape::scan(text).map_err(|broken| PolicyError::TooMuch {
        what: broken.what,
        limit: broken.limit,
        place: Place::at(text, broken.at),
    })
}

/// What Cedar says of a text that it cannot parse.
pub(crate) fn syntax(text: &str, errors: &cedar_policy::ParseErrors) -> PolicyError {
    PolicyError::Syntax(errors.iter().map(|error| finding(text, &DetailedError::from(error))).collect())
}

/// Parses a text and names its policies.
pub(crate) fn parse(text: &str) -> Result<Vec<Named>, PolicyError> {
    let starts = scan(text)?;
    let set: PolicySet = text.parse().map_err(|errors| syntax(text, &errors))?;
    let templates =
        set.templates().map(|template| (template.id().to_string(), "a template, with slots")).collect();
    let place = |id: &str| starts.get(number(id)).map(|start| Place::at(text, *start));
    refuse(templates, place, "policies here are complete; write one for each case")?;

    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| number(policy.id().as_ref()));
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut named = Vec::with_capacity(policies.len());
    for policy in policies {
        let id: &str = policy.id().as_ref();
        let name = policy.annotation("id").map_or_else(|| number(id).to_string(), str::to_owned);
        if !is_name(&name) {
            wrong.push((id.to_owned(), "an @id has 1 to 64 letters, digits, '-' and '_'"));
        } else if !names.insert(name.clone()) {
            wrong.push((id.to_owned(), "another policy has this @id"));
        }
        if policy.effect() == Effect::Permit && policy.annotation("review").is_some() {
            wrong.push((id.to_owned(), "@review belongs on a forbid, which it turns into a question"));
        }
        let place = place(id).unwrap_or(Place { line: 1, column: 1 });
        named.push(Named { policy: policy.new_id(PolicyId::new(&name)), name, place });
    }
    refuse(wrong, place, "")?;
    Ok(named)
}

fn refuse(
    wrong: Vec<(String, &str)>,
    place: impl Fn(&str) -> Option<Place>,
    help: &str,
) -> Result<(), PolicyError> {
    if wrong.is_empty() {
        return Ok(());
    }
    let help = (!help.is_empty()).then(|| help.to_owned());
    let finding = |(id, message): (String, &str)| Finding {
        place: place(&id),
        message: message.to_owned(),
        help: help.clone(),
    };
    let mut findings: Vec<Finding> = wrong.into_iter().map(finding).collect();
    findings.sort();
    Err(PolicyError::Invalid(findings))
}

/// Cedar numbers the policies of a text `policy0`, `policy1`, …
fn number(id: &str) -> usize {
    id.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= shape::NAME_BYTES && name.chars().all(allowed)
}

/// Validates strictly, and returns the warnings.
pub(crate) fn validate(text: &str, parsed: &[Named], schema: &Schema) -> Result<Vec<Finding>, PolicyError> {
    let set = PolicySet::from_policies(parsed.iter().map(|named| named.policy.clone()))
        .map_err(|error| PolicyError::Invalid(vec![general(&error.to_string())]))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let mut errors: Vec<Finding> =
        result.validation_errors().map(|error| finding(text, &DetailedError::from(error))).collect();
    if !errors.is_empty() {
        errors.sort();
        errors.dedup();
        return Err(PolicyError::Invalid(errors));
    }
    let mut warnings: Vec<Finding> =
        result.validation_warnings().map(|warning| finding(text, &DetailedError::from(warning))).collect();
    warnings.sort();
    Ok(warnings)
}

fn finding(text: &str, error: &DetailedError) -> Finding {
    let label = error.source_locations.first();
    let because = label.and_then(|label| label.label.as_deref()).map(|label| format!(": {label}"));
    Finding {
        place: label.map(|label| Place::at(text, label.loc.start)),
        message: format!("{}{}", error.message, because.unwrap_or_default()),
        help: error.help.clone(),
    }
}
