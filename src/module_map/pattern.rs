//! Patterns: the path of an entry, parsed once, and how two of them relate.

use std::{
    cmp::{Ordering, Reverse},
    fmt,
};

use matchit::InsertError;

/// What paths an entry covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    /// Whether this is a prefix: it covers the path of its text, that with a slash, and all below.
    below: bool,
}

/// What stands between two slashes of a pattern, without the names of parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// This text.
    Literal(Box<str>),
    /// This text and at least one more byte.
    Param(Box<str>),
    /// This text and at least one more byte, slashes included: the end of the pattern.
    CatchAll(Box<str>),
}

/// What a pattern says at one place, the most specific first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Literal,
    /// The longer the literal text before the parameter, the more specific.
    Wild {
        text: Reverse<usize>,
        catch_all: bool,
    },
    Below,
}

/// matchit names the parameters of a pattern `a` to `y` and panics at the next one.
const MOST_PARAMETERS: usize = 25;

impl Pattern {
    pub(super) fn parse(text: &str, below: bool) -> Result<Self, &'static str> {
        let Some(relative) = text.strip_prefix('/') else {
            return Err("it does not start with `/`");
        };
        check_arrivable(text)?;
        if text.matches('{').count() > MOST_PARAMETERS {
            return Err("it has more than 25 parameters");
        }
        // What a pattern is, matchit decides; below, no segment can be malformed any more.
        matchit::Router::new()
            .insert(text, ())
            .map_err(|error| match error {
                InsertError::InvalidParamSegment => {
                    "a parameter ends its segment: `{name}` or `text{name}`"
                }
                InsertError::InvalidCatchAll => "a catch-all ends the pattern: `/files/{*path}`",
                _ => "a parameter is `{name}` or `{*name}`, and `{{` and `}}` are literal braces",
            })?;
        let segments: Box<[_]> = match (relative, below) {
            ("", true) => Box::default(),
            _ => relative.split('/').map(Segment::parse).collect(),
        };
        if below {
            match segments.last() {
                Some(Segment::CatchAll(_)) => {
                    return Err("a prefix covers all below: it needs no catch-all");
                }
                Some(Segment::Literal(text)) if text.is_empty() => {
                    return Err(
                        "a prefix ends without `/`: it covers itself, with a slash too, \
                                and all below",
                    );
                }
                _ => {}
            }
        }
        Ok(Self {
            text: text.into(),
            segments,
            below,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn is_prefix(&self) -> bool {
        self.below
    }

    /// Whether the text is the only path that this pattern covers.
    pub(super) fn is_literal(&self) -> bool {
        !self.below && !self.text.contains(['{', '}'])
    }

    /// The order in which patterns that cover the same path decide about it, the most specific
    /// first: that of a router, which at the first place where two differ prefers literal text to
    /// a parameter, a parameter to a catch-all, and a catch-all to a prefix that ended before.
    ///
    /// Two patterns of which no path is covered by both have no meaningful order.
    pub(super) fn by_specificity(&self, other: &Self) -> Ordering {
        self.steps().cmp(other.steps())
    }

    fn steps(&self) -> impl Iterator<Item = Step> {
        let wild = |text: &str, catch_all| Step::Wild {
            text: Reverse(text.len()),
            catch_all,
        };
        let segments = self.segments.iter().map(move |segment| match segment {
            Segment::Literal(_) => Step::Literal,
            Segment::Param(text) => wild(text, false),
            Segment::CatchAll(text) => wild(text, true),
        });
        segments.chain(self.below.then_some(Step::Below))
    }

    /// Whether some path is covered by both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let mut here = &*self.segments;
        let mut there = &*other.segments;
        loop {
            let ((a, a_rest), (b, b_rest)) = match (here.split_first(), there.split_first()) {
                (None, None) => return true,
                (None, Some(_)) => return self.below,
                (Some(_), None) => return other.below,
                (Some(a), Some(b)) => (a, b),
            };
            let a_last = a_rest.is_empty() && !self.below;
            let b_last = b_rest.is_empty() && !other.below;
            if !a.overlaps(b, a_last, b_last) {
                return false;
            }
            if matches!(a, Segment::CatchAll(_)) || matches!(b, Segment::CatchAll(_)) {
                return true;
            }
            (here, there) = (a_rest, b_rest);
        }
    }

    /// Whether every path that `other` covers is covered by this.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let mut here = &*self.segments;
        let mut there = &*other.segments;
        loop {
            let ((a, a_rest), (b, b_rest)) = match (here.split_first(), there.split_first()) {
                (None, None) => return self.below || !other.below,
                (None, Some(_)) => return self.below,
                (Some(_), None) => return false,
                (Some(a), Some(b)) => (a, b),
            };
            // A prefix goes on after its last parameter as a catch-all does.
            let open_ended = matches!(a, Segment::CatchAll(_)) || self.below && a_rest.is_empty();
            if !a.contains(b, b_rest.is_empty(), open_ended) {
                return false;
            }
            if matches!(a, Segment::CatchAll(_)) || matches!(b, Segment::CatchAll(_)) {
                return true;
            }
            (here, there) = (a_rest, b_rest);
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Covered(&self.text, self.below))
    }
}

/// A pattern's text as people read it.
pub(super) struct Covered<'a>(pub(super) &'a str, pub(super) bool);

impl fmt::Display for Covered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        f.write_str(if self.1 { " and below" } else { "" })
    }
}

impl Segment {
    /// Parses a segment that matchit accepted: literal text, then at most one parameter.
    fn parse(text: &str) -> Self {
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match (character, rest.as_str()) {
                ('{', after) if !after.starts_with('{') => {
                    return if after.starts_with('*') {
                        Self::CatchAll(literal.into())
                    } else {
                        Self::Param(literal.into())
                    };
                }
                // A doubled brace is a literal one.
                ('{' | '}', _) => {
                    rest.next();
                }
                _ => {}
            }
            literal.push(character);
        }
        Self::Literal(literal.into())
    }

    /// Whether some text is covered by both; `last` and `other_last` where nothing can follow.
    fn overlaps(&self, other: &Self, last: bool, other_last: bool) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(literal), Self::Param(text) | Self::CatchAll(text)) => {
                fills(literal, text, last)
            }
            (Self::Param(text) | Self::CatchAll(text), Self::Literal(literal)) => {
                fills(literal, text, other_last)
            }
            (Self::Param(a) | Self::CatchAll(a), Self::Param(b) | Self::CatchAll(b)) => {
                a.starts_with(&**b) || b.starts_with(&**a)
            }
        }
    }

    /// Whether every text that `other` covers is covered by this; `other_last` where nothing
    /// follows `other`, `open_ended` where this covers slashes too.
    fn contains(&self, other: &Self, other_last: bool, open_ended: bool) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(_), _) => false,
            (Self::Param(text) | Self::CatchAll(text), Self::Literal(literal)) => {
                fills(literal, text, other_last)
            }
            (Self::Param(text) | Self::CatchAll(text), Self::Param(narrower)) => {
                narrower.starts_with(&**text)
            }
            (Self::Param(text) | Self::CatchAll(text), Self::CatchAll(narrower)) => {
                open_ended && narrower.starts_with(&**text)
            }
        }
    }
}

/// Whether `literal` is `text` with something after it, as a parameter asks. In the middle of a
/// path matchit lets a parameter be empty.
fn fills(literal: &str, text: &str, last: bool) -> bool {
    literal.starts_with(text) && (literal.len() > text.len() || !last)
}

/// Refuses what never gets as far as a module map: what no path carries, and the forms that two
/// parsers could read in two ways, which are refused before.
fn check_arrivable(text: &str) -> Result<(), &'static str> {
    let lower = text.to_ascii_lowercase();
    if text.contains(['?', '#']) {
        return Err("a path ends before `?` and `#`");
    }
    if text.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '<' | '>' | '`')) {
        return Err(
            "a path has no such characters: it is matched as it is sent, \
                    so write them percent-encoded",
        );
    }
    if text.contains("//") {
        return Err("`//` is ambiguous in a path");
    }
    if text.contains('\\')
        || ["%2f", "%5c", "%00"]
            .iter()
            .any(|form| lower.contains(form))
    {
        return Err("`\\`, `%2f`, `%5c` and `%00` are ambiguous in a path");
    }
    for segment in lower.split('/') {
        if matches!(segment.replace("%2e", ".").as_str(), "." | "..") {
            return Err("a dot segment is ambiguous in a path");
        }
        if segment.starts_with([':', '*']) {
            return Err("a parameter is `{name}`, a catch-all is `{*name}`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
