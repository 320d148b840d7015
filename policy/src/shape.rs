//! Bounds on policy text, checked before Cedar sees it.
//!
//! Cedar parses by recursion and does not bound it: 150 nested parentheses, which are 300 bytes, overflow a stack of
//! 2 MiB and take the process with them. Bundles come from other devices, so this scan comes first. It knows only
//! strings, comments and brackets, and must end each of them where Cedar's own lexer does.

/// The text of one bundle or device policy: far more than a person reviews.
pub const TEXT_BYTES: usize = 64 << 10;
/// Policies in one text: each costs about a microsecond in every decision that is not cached.
pub const TEXT_POLICIES: usize = 128;
/// Bundles in force at once: concurrent ones add up until one supersedes them.
pub const BUNDLES: usize = 64;
/// Nested brackets; a level costs Cedar's parser about 15 KiB of stack.
pub const NESTING: usize = 24;
/// Operators in one policy; a chain of them is as deep as it is long.
pub const OPERATORS: usize = 512;
/// Levels of a value that conditions look into: as deep as documents nest.
pub const FACTS_DEPTH: usize = syncd_schema::limits::JSON_DEPTH;
/// An `@id`, which becomes part of the names in every decision.
pub const NAME_BYTES: usize = 64;

/// Which bound a text breaks, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch {
    pub(crate) what: &'static str,
    pub(crate) limit: usize,
    pub(crate) at: usize,
}

/// Checks the bounds and returns the offset at which each policy begins.
pub(crate) fn scan(text: &str) -> Result<Vec<usize>, TooMuch> {
    if text.len() > TEXT_BYTES {
        return Err(TooMuch { what: "bytes of policy text", limit: TEXT_BYTES, at: TEXT_BYTES });
    }
    let mut scan = Scan { starts: Vec::new(), inside: false, depth: 0, operators: 0 };
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => {
                while let Some((_, c)) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            // Cedar ends a comment at a carriage return too.
            '/' if rest.next_if(|(_, next)| *next == '/').is_some() => {
                while rest.next_if(|(_, c)| !matches!(c, '\n' | '\r')).is_some() {}
            }
            c if c.is_whitespace() => {}
            c if c.is_alphabetic() || c == '_' => {
                let mut end = at + c.len_utf8();
                while let Some((at, c)) = rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                    end = at + c.len_utf8();
                }
                let word = text.get(at..end).unwrap_or_default();
                scan.begin(at)?;
                if matches!(word, "if" | "then" | "else" | "has" | "like" | "in" | "is" | "when" | "unless") {
                    scan.operator(at)?;
                }
            }
            c => scan.mark(at, c)?,
        }
    }
    Ok(scan.starts)
}

struct Scan {
    starts: Vec<usize>,
    inside: bool,
    depth: usize,
    operators: usize,
}

impl Scan {
    fn mark(&mut self, at: usize, c: char) -> Result<(), TooMuch> {
        self.begin(at)?;
        match c {
            ';' => {
                self.inside = false;
                self.operators = 0;
            }
            '(' | '[' | '{' => {
                self.depth += 1;
                if self.depth > NESTING {
                    return Err(TooMuch { what: "nested brackets", limit: NESTING, at });
                }
            }
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            '&' | '|' | '+' | '-' | '*' | '.' | '!' | '<' | '>' | '=' => self.operator(at)?,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) -> Result<(), TooMuch> {
        if !self.inside {
            self.inside = true;
            self.starts.push(at);
            if self.starts.len() > TEXT_POLICIES {
                return Err(TooMuch { what: "policies in one text", limit: TEXT_POLICIES, at });
            }
        }
        Ok(())
    }

    fn operator(&mut self, at: usize) -> Result<(), TooMuch> {
        self.operators += 1;
        if self.operators > OPERATORS {
            return Err(TooMuch { what: "operators in one policy", limit: OPERATORS, at });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(text: &str) -> &'static str {
        scan(text).expect_err("too much").what
    }

    #[test]
    fn policies_begin_where_they_begin() {
        let text = "// a; (\n@id(\"x;(\\\"\")\npermit(principal, action, resource);\nforbid(principal, action, resource);";
        assert_eq!(scan(text), Ok(vec![8, 58]));
        assert_eq!(&text[58..64], "forbid");
        assert_eq!(scan(" // nothing\n"), Ok(vec![]));
    }

    #[test]
    fn depth_operators_and_count_are_bounded() {
        assert_eq!(breaks(&format!("permit({}", "(".repeat(NESTING))), "nested brackets");
        assert_eq!(breaks(&"+1".repeat(OPERATORS + 1)), "operators in one policy");
        assert_eq!(breaks(&"if ".repeat(OPERATORS + 1)), "operators in one policy");
        assert_eq!(breaks(&"a;".repeat(TEXT_POLICIES + 1)), "policies in one text");
        assert_eq!(breaks(&" ".repeat(TEXT_BYTES + 1)), "bytes of policy text");
        assert!(scan(&"a+b;".repeat(TEXT_POLICIES)).is_ok());
    }

    #[test]
    fn a_comment_ends_at_a_carriage_return() {
        assert_eq!(breaks(&format!("// \r{}", "(".repeat(NESTING + 1))), "nested brackets");
    }
}
