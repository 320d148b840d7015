//! What is kept of deletions in a row: where they stand in a log, and how they were answered.

use super::card_rows::DecidedRow;
use minicbor::{Decode, Encode};
use syncd_schema::{Actor, Collection, Digest, LogId, LogSeq};

/// Deletions of an actor in a collection among the last entries of a log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DeletionsRow {
    /// Whose they are and of which collection, as [`syncd_schema::burst::name`] names both.
    #[n(0)]
    pub of: Digest,
    /// Where the newest of them stand, oldest first: as many as decide whether the next one waits.
    #[n(1)]
    pub places: Vec<LogSeq>,
    /// Where it was said last that many begin.
    #[n(2)]
    pub begun: Option<LogSeq>,
}

/// One row of `bursts`: what was answered about the deletions of an actor in a collection of a log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct BurstRow {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// The actor.
    #[n(1)]
    pub actor: Actor,
    /// The collection.
    #[n(2)]
    pub collection: Collection,
    /// The answers, by operation.
    #[n(3)]
    pub answers: Vec<AnswerRow>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct AnswerRow {
    /// The first place that is meant.
    #[n(0)]
    pub from: LogSeq,
    /// The last one.
    #[n(1)]
    pub through: LogSeq,
    /// Whether what stands there happens.
    #[n(2)]
    pub lets_in: bool,
    /// Who answered.
    #[n(3)]
    pub by: DecidedRow,
}

impl BurstRow {
    /// What was answered about a place: to let it happen before all else, since what happened stays so.
    #[must_use]
    pub fn answer_to(&self, at: LogSeq) -> Option<&AnswerRow> {
        let about = |answer: &&AnswerRow| answer.from <= at && at <= answer.through;
        self.answers.iter().filter(about).min_by_key(|answer| (!answer.lets_in, answer.by.operation))
    }
}
