//! Bounds for text that reaches evidence from elsewhere, such as the message of an error.
//!
//! A record must never fail to be written because a message was long, so text is cut rather than refused when it
//! is written, and refused only when it is read.

/// Ends a text that was cut, so that a reader knows there was more.
const ELLIPSIS: &str = "…";

/// At most `max` bytes of `text`, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(ELLIPSIS.len());
    let mut kept = String::with_capacity(max);
    for c in text.chars() {
        if kept.len() + c.len_utf8() > room {
            break;
        }
        kept.push(c);
    }
    kept.push_str(ELLIPSIS);
    kept
}

/// The word serde writes for a value without fields, to compare with the word people are shown.
#[cfg(test)]
pub(crate) fn serde_word<T: serde::Serialize>(value: &T) -> String {
    struct Shown<'a, T>(&'a T);
    impl<T: serde::Serialize> std::fmt::Display for Shown<'_, T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.serialize(f)
        }
    }
    Shown(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        assert_eq!(cut("ääää", 7), "ää…");
        for max in 3..12 {
            assert!(cut("äöüäöüäöü", max).len() <= max, "cut to {max}");
        }
    }
}
