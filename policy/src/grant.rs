//! The gate's answer to one operation: a grant, to be used once, or a refusal.

use crate::decision::{Decision, Verdict};
use crate::request::Action;
use std::sync::Arc;
use syncd_schema::{Digest, OperationId, OperationType};

/// Permission for one operation under one policy version.
///
/// Only [`crate::Gate`] makes one, it cannot be copied, and [`Grant::redeem`] consumes it.
///
/// ```compile_fail
/// fn twice(grant: syncd_policy::Grant) -> [syncd_policy::Grant; 2] {
///     [grant.clone(), grant]
/// }
/// ```
#[derive(Debug)]
#[must_use = "a grant that is not redeemed permits nothing"]
pub struct Grant {
    operation: OperationId,
    decision: Arc<Decision>,
    digest: Digest,
    /// None for the genesis.
    action: Option<Action>,
}

/// Why a grant does not serve.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GrantError {
    /// It permits something else.
    #[error("the grant is for operation {granted}, not for {asked}")]
    AnotherOperation {
        /// What it permits.
        granted: OperationId,
        /// What was to be done.
        asked: OperationId,
    },
    /// The refusal is final.
    #[error("the operation was refused and does not wait for a review")]
    NotForReview,
    /// What is given as the approval is another kind of operation.
    #[error("only the resolution of a conflict approves what waits for a review")]
    NotAnApproval,
}

impl Grant {
    pub(crate) fn new(
        operation: OperationId,
        decision: Arc<Decision>,
        digest: Digest,
        action: Option<Action>,
    ) -> Self {
        Self { operation, decision, digest, action }
    }

    /// The decision that admits.
    #[must_use]
    pub fn decision(&self) -> &Arc<Decision> {
        &self.decision
    }

    /// The digest of the decision, which was computed when it was made.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Uses the grant up.
    ///
    /// # Errors
    /// When it is for another operation; it is used up all the same.
    pub fn redeem(self, operation: OperationId) -> Result<Redeemed, GrantError> {
        if self.operation != operation {
            return Err(GrantError::AnotherOperation { granted: self.operation, asked: operation });
        }
        Ok(Redeemed {
            operation,
            decision: self.digest,
            policy_version: self.decision.policy_version,
            action: self.action,
        })
    }
}

/// Proof that the gate admitted an operation. The engine writes only with one of these.
#[derive(Debug, PartialEq, Eq)]
pub struct Redeemed {
    operation: OperationId,
    decision: Digest,
    policy_version: Digest,
    action: Option<Action>,
}

impl Redeemed {
    /// The operation admitted.
    #[must_use]
    pub fn operation(&self) -> OperationId {
        self.operation
    }

    /// The digest of the decision that admitted it.
    #[must_use]
    pub fn decision(&self) -> Digest {
        self.decision
    }

    /// The policies that were asked.
    #[must_use]
    pub fn policy_version(&self) -> Digest {
        self.policy_version
    }

    /// Whether it was admitted as the genesis of a workspace, without asking any policy; it admits nothing else.
    #[must_use]
    pub fn is_genesis(&self) -> bool {
        self.action.is_none()
    }

    /// What was admitted; none for the genesis.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.action
    }
}

/// An operation that is not admitted, or not yet.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .decision.in_words())]
pub struct Refusal {
    /// The decision, with its reasons.
    pub decision: Arc<Decision>,
    /// The digest of the decision.
    pub digest: Digest,
    /// [`Verdict::Refuse`], or [`Verdict::Review`] when it becomes a card.
    pub verdict: Verdict,
    pub(crate) operation: OperationId,
    pub(crate) action: Action,
}

impl Refusal {
    /// Admits what waited for a review, once a resolution that was itself admitted approves it. The caller has
    /// checked that the resolution names this operation. The grant carries the decision that asked for the review.
    ///
    /// # Errors
    /// When the refusal is final, is about another operation, or the approval is not a resolution.
    pub fn approved(&self, operation: OperationId, approval: &Redeemed) -> Result<Grant, GrantError> {
        if self.verdict != Verdict::Review {
            return Err(GrantError::NotForReview);
        }
        if self.operation != operation {
            return Err(GrantError::AnotherOperation { granted: self.operation, asked: operation });
        }
        if approval.action != Some(Action::Operation(OperationType::Resolve)) {
            return Err(GrantError::NotAnApproval);
        }
        Ok(Grant::new(operation, Arc::clone(&self.decision), self.digest, Some(self.action)))
    }
}
