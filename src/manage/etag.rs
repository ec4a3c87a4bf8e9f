//! Entity tags: a change is made only to what the client has seen (RFC 9110 §8.8.3, §13.1.1).

use std::fmt;

use axum::extract::FromRequestParts;
use http::{
    HeaderValue,
    header::{ETAG, IF_MATCH, IF_NONE_MATCH},
    request::Parts,
};
use utoipa::{
    IntoParams,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

use super::{
    input::only,
    problem::{Problem, ProblemCode},
    schema::optional_header,
};

/// The strong entity tag of a state, which must be written without `"` and in visible ASCII.
pub(super) fn entity_tag(state: impl fmt::Display) -> String {
    format!("\"{state}\"")
}

/// The header that carries an entity tag.
pub(super) fn header(tag: &str) -> [(http::HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(tag).expect("an entity tag is visible ASCII");
    [(ETAG, value)]
}

/// What `If-Match` asks for. Where it is not there, everything matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IfMatch {
    Absent,
    /// `*`: whatever is there.
    Any,
    /// One of these. A weak tag is none of them: it never matches.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Whether what is there now, with this tag, is what the client means.
    ///
    /// # Errors
    ///
    /// 412 where it is not, or nothing is there.
    pub(super) fn check(&self, current: Option<&str>) -> Result<(), Problem> {
        let matches = match (self, current) {
            (Self::Absent, _) | (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.iter().any(|tag| tag == current),
            (_, None) => false,
        };
        match (matches, current) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(changed()),
            (false, None) => Err(absent()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        // Empty elements of a list are ignored (RFC 9110 §5.6.1), and a list of none is one too.
        let between = [' ', '\t', ','];
        let mut tags = Vec::new();
        let mut rest = text.trim_start_matches(between);
        while !rest.is_empty() {
            let strong = rest.strip_prefix("W/");
            let (is_weak, tag) = (strong.is_some(), strong.unwrap_or(rest));
            let (opaque, after) = tag.strip_prefix('"')?.split_once('"')?;
            let ends = after.trim_start_matches([' ', '\t']);
            let is_valid = opaque.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_valid || !(ends.is_empty() || ends.starts_with(',')) {
                return None;
            }
            if !is_weak {
                tags.push(entity_tag(opaque));
            }
            rest = after.trim_start_matches(between);
        }
        Some(Self::OneOf(tags))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut lines = Vec::new();
        for line in parts.headers.get_all(IF_MATCH) {
            let line = line.to_str();
            lines.push(line.map_err(|_| unreadable())?);
        }
        match lines.is_empty() {
            true => Ok(Self::Absent),
            // Lines of one list (RFC 9110 §5.3).
            false => Self::parse(&lines.join(",")).ok_or_else(unreadable),
        }
    }
}

/// A header that may be left out.
impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let tag = "(W/)?\"[!#-~]*\"";
        let list = format!(r"[ \t,]*({tag}([ \t]*,[ \t,]*{tag})*([ \t]*,[ \t,]*)?)?");
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!(r"^(\*|{list})$")));
        let description = "`*`, or a list of entity tags (RFC 9110 §13.1.1): changes only what has \
                           one of them now.";
        optional_header("If-Match", description, text)
    }
}

/// What `If-None-Match` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfNoneMatch {
    Absent,
    /// `*`: nothing is there yet.
    Any,
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match only(&parts.headers, &IF_NONE_MATCH)? {
            None => Ok(Self::Absent),
            Some(text) if text.trim() == "*" => Ok(Self::Any),
            Some(_) => Err(Problem::invalid("if-none-match", "it is not *")),
        }
    }
}

/// A header that may be left out.
impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["*"]));
        let description =
            "`*` (RFC 9110 §13.1.2): adds what is not there yet, and changes nothing.";
        optional_header("If-None-Match", description, text)
    }
}

fn unreadable() -> Problem {
    Problem::invalid("if-match", "it is neither * nor a list of entity tags")
}

/// The refusal where somebody else was faster.
pub(super) fn changed() -> Problem {
    failed("It is not as If-Match says: it was changed.")
}

/// The refusal where nothing is there.
pub(super) fn absent() -> Problem {
    failed("It is not as If-Match says: it is not there.")
}

/// The refusal where something is there that was to be new.
pub(super) fn exists() -> Problem {
    let detail = "It is not as If-None-Match says: there is one already.";
    Problem::new(ProblemCode::PreconditionFailed, detail).with_field("if-none-match")
}

fn failed(detail: &str) -> Problem {
    Problem::new(ProblemCode::PreconditionFailed, detail).with_field("if-match")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of<const N: usize>(tags: [&str; N]) -> Option<IfMatch> {
        Some(IfMatch::OneOf(tags.map(str::to_owned).into()))
    }

    #[test]
    fn lists_of_entity_tags_are_read() {
        assert_eq!(IfMatch::parse(" * "), Some(IfMatch::Any));
        assert_eq!(IfMatch::parse("\"7\""), one_of(["\"7\""]));
        let list = "\"a,b\" ,, W/\"c\",\t\"\"";
        assert_eq!(IfMatch::parse(list), one_of(["\"a,b\"", "\"\""]));
        assert_eq!(IfMatch::parse("W/\"7\""), one_of([]));
        assert_eq!(IfMatch::parse("\"7\","), one_of(["\"7\""]));
        for none in ["", " ", " ,\t,"] {
            assert_eq!(IfMatch::parse(none), one_of([]), "{none:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for text in [
            "7",
            "\"7",
            "7\"",
            "\"7\" \"8\"",
            "\"7\"8",
            "w/\"7\"",
            "*,\"7\"",
            "\"a b\"",
        ] {
            assert_eq!(IfMatch::parse(text), None, "{text}");
        }
    }

    #[test]
    fn weak_tags_match_nothing_and_a_star_whatever_is_there() {
        let weak = IfMatch::parse("W/\"7\"").unwrap();
        assert!(weak.check(Some("\"7\"")).is_err());
        let strong = IfMatch::parse("\"6\", \"7\"").unwrap();
        assert!(strong.check(Some("\"7\"")).is_ok());
        for if_match in [weak, strong, IfMatch::Any] {
            assert!(if_match.check(None).is_err());
        }
        assert!(IfMatch::Any.check(Some("\"7\"")).is_ok());
        assert!(IfMatch::Absent.check(None).is_ok());
    }
}
