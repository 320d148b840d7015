//! JSON that is taken exactly or not at all: what a reader of JSON may change without a word is refused with its place.
//!
//! RFC 8259 leaves two things to whoever reads. Of members with the same name most readers keep the last, and whole numbers
//! beyond 64 bits become the nearest floating point number. Somebody's work would be changed before it is written down.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Why JSON is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ExactError {
    /// Not JSON, or a name twice in one object. Says the line and the column.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A whole number that 64 bits do not hold.
    #[error(
        "{digits} at line {line} column {column} is beyond 64 bits, which no number here may be; write it as a string"
    )]
    Number {
        /// The beginning of it.
        digits: String,
        /// The line, from 1.
        line: usize,
        /// The byte of that line at which it begins, from 1.
        column: usize,
    },
}

/// Checks that JSON can be read as it is written. Memory follows the names of the objects that are open.
///
/// # Errors
/// When it is not JSON, has a name twice, or a whole number outside of -2^63 to 2^64 - 1.
pub fn check(json: &[u8]) -> Result<(), ExactError> {
    serde_json::from_slice::<Once>(json)?;
    numbers(json)
}

/// A value in which no object has a name twice.
struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_str<E>(self, _: &str) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        while items.next_element::<Once>()?.is_some() {}
        Ok(Once)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                // What follows is not looked at: the place of the error is that of the name.
                let shown: String = name.chars().take(80).collect();
                return Err(A::Error::custom(format_args!("the name {shown:?} stands twice in one object")));
            }
            names.insert(name);
            members.next_value::<Once>()?;
        }
        Ok(Once)
    }
}

/// Checks the whole numbers of a text that is JSON.
fn numbers(json: &[u8]) -> Result<(), ExactError> {
    let (mut line, mut begun) = (1, 0);
    let mut rest = json.iter().enumerate().peekable();
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'\n' => (line, begun) = (line + 1, at + 1),
            b'"' => {
                let mut escaped = false;
                for (_, byte) in rest.by_ref() {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                let mut end = at + 1;
                while let Some((next, _)) =
                    rest.next_if(|(_, byte)| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                {
                    end = next + 1;
                }
                let digits = json.get(at..end).and_then(|digits| std::str::from_utf8(digits).ok());
                if let Some(digits) = digits.filter(|digits| !fits(digits)) {
                    let column = at - begun + 1;
                    let digits = digits.chars().take(40).collect();
                    return Err(ExactError::Number { digits, line, column });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a number is none that is whole and too large. One with a point or an exponent is a floating point number, as
/// its writer knows.
fn fits(number: &str) -> bool {
    number.contains(['.', 'e', 'E']) || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(json: &str) -> String {
        check(json.as_bytes()).expect_err(json).to_string()
    }

    #[test]
    fn what_would_be_changed_is_refused_with_its_place() {
        assert!(
            says("{\"a\": [1,\n  {\"b\": 18446744073709551616}]}")
                .starts_with("18446744073709551616 at line 2 column 9")
        );
        assert!(says("-9223372036854775809").contains("line 1 column 1"));
        assert!(
            says(r#"{"a":1,"b":2,"a":1}"#).contains(r#"the name "a" stands twice in one object at line 1"#)
        );
        assert!(says(r#"{"x":[{"a":1,"\u0061":2}]}"#).contains("stands twice"));
        assert!(says("{").contains("line 1"));
    }

    #[test]
    fn what_is_exact_is_taken() {
        for json in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e30",
            "123456789012345678901234567890.0",
            r#"{"a":{"a":1},"b":[{"a":1},{"a":"123456789012345678901234567890\"1234567890123456789012"}]}"#,
            "[null,true,-0,\"\"]",
        ] {
            check(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
        }
    }
}
