//! JSON Pointers (RFC 6901): how people, patches and manifests name a place in an object.

use super::error::EditError;
use syncd_schema::limits;

/// Splits a pointer into its decoded steps; the empty pointer, which names the root, has none.
///
/// # Errors
/// When the text is too long or not a pointer.
pub fn parse(pointer: &str) -> Result<Vec<String>, EditError> {
    if pointer.len() > limits::PATH_BYTES {
        return Err(EditError::PathTooLong { path: excerpt(pointer), found: pointer.len() });
    }
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let malformed = || EditError::PathMalformed { path: excerpt(pointer) };
    let rest = pointer.strip_prefix('/').ok_or_else(malformed)?;
    rest.split('/').map(|step| decode(step).ok_or_else(malformed)).collect()
}

/// Writes steps as a pointer.
#[must_use]
pub fn join<S: AsRef<str>>(steps: &[S]) -> String {
    let mut pointer = String::new();
    for step in steps {
        push(&mut pointer, step.as_ref());
    }
    pointer
}

/// Adds one step to a pointer.
pub(crate) fn push(pointer: &mut String, step: &str) {
    pointer.push('/');
    for c in step.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            _ => pointer.push(c),
        }
    }
}

/// A step as the index of a list: digits without a leading zero, or `-` for the place after the last item.
pub(crate) fn index(step: &str, len: usize) -> Option<usize> {
    if step == "-" {
        return Some(len);
    }
    let canonical = step == "0" || !step.starts_with('0');
    if !canonical || !step.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    step.parse().ok()
}

/// The first characters, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

fn decode(step: &str) -> Option<String> {
    if !step.contains('~') {
        return Some(step.to_owned());
    }
    let mut decoded = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => decoded.push('~'),
                '1' => decoded.push('/'),
                _ => return None,
            },
            _ => decoded.push(c),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_survive_parsing() {
        for pointer in ["", "/", "/a", "/a~1b/~0/0", "/a//b", "/ä/ "] {
            assert_eq!(join(&parse(pointer).expect("a pointer")), pointer);
        }
        for pointer in ["a", "/~", "/~2", "a/b"] {
            assert!(parse(pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn indexes_have_one_spelling() {
        assert_eq!(index("0", 3), Some(0));
        assert_eq!(index("10", 3), Some(10));
        assert_eq!(index("-", 3), Some(3));
        for step in ["", "01", "+1", "-1", "1a", "99999999999999999999999"] {
            assert_eq!(index(step, 3), None, "{step}");
        }
    }
}
