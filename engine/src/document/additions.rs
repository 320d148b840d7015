//! Whether a change only adds: what collections of strategy `append_only` take.

use automerge::Change;
use automerge::legacy::OpType;

/// Whether no operation of a change replaces or deletes anything that was there before it. Adding to a counter is an
/// addition; what a change itself made, it may change again.
#[must_use]
pub fn only_adds(change: &Change) -> bool {
    let decoded = change.decode();
    let (own, first) = (&decoded.actor_id, decoded.start_op.get());
    decoded.operations.iter().all(|operation| {
        matches!(operation.action, OpType::Increment(_))
            || operation.pred.iter().all(|before| before.actor() == own && before.counter() >= first)
    })
}
