//! The same edit made by several: it stands in the text once for each of them, and once is meant.
//!
//! Which characters are too many is found from the operations: of any two copies the one whose first operation has the
//! greater name. Removing them is deletions only, so that doing it twice, on several devices, or on one that has not
//! heard of all copies yet, ends the same: the smallest copy is nobody's to remove.

use super::{Conflict, Kind, OpName, TooWide, lines, texts};
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ReadDoc, ScalarValueRef, ValueRef};
use std::collections::HashSet;

/// The characters to delete so that one copy is left of an edit that several made, by the operations that inserted them.
/// None for a conflict whose sides come to different things.
///
/// `is_by_lines` says how the text is judged, as for [`super::update`].
///
/// # Errors
/// When more was done apart than can be compared.
pub fn doubled(doc: &Automerge, conflict: &Conflict, is_by_lines: bool) -> Result<Vec<OpName>, TooWide> {
    if conflict.kind != Kind::Text || !conflict.is_equal {
        return Ok(Vec::new());
    }
    match is_by_lines {
        true => Ok(lines::matter(doc, conflict)?.map(|matter| matter.doubled).unwrap_or_default()),
        false => texts::doubled(doc, conflict),
    }
}

/// The lines that a conflict in a text judged by lines is about, as each side has them. None if it is over.
///
/// # Errors
/// When more was done apart than can be compared.
pub fn versions(doc: &Automerge, conflict: &Conflict) -> Result<Option<lines::Versions>, TooWide> {
    Ok(lines::matter(doc, conflict)?.map(|matter| matter.versions))
}

/// Deletes characters of a text, by the operations that inserted them; how many of them were still there.
///
/// # Errors
/// When Automerge refuses, and when this is not a text.
pub fn delete_elements(
    tx: &mut Transaction<'_>,
    text: &OpName,
    elements: &[OpName],
) -> Result<usize, AutomergeError> {
    let gone: HashSet<&OpName> = elements.iter().collect();
    let mut position = 0;
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut count = 0;
    for item in tx.list_range(text.object(), ..) {
        let width = match &item.value {
            ValueRef::Scalar(ScalarValueRef::Str(text)) => text.chars().count(),
            _ => 1,
        };
        if OpName::of_object(&item.id()).is_some_and(|name| gone.contains(&name)) {
            count += 1;
            match stretches.last_mut() {
                Some((start, length)) if *start + *length == position => *length += width,
                _ => stretches.push((position, width)),
            }
        }
        position += width;
    }
    // From the end, so that positions stay what they are.
    for (start, length) in stretches.into_iter().rev() {
        tx.splice_text(text.object(), start, isize::try_from(length).unwrap_or(isize::MAX), "")?;
    }
    Ok(count)
}
