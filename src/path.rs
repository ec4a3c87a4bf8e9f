//! Request paths that two parsers could read in two ways.
//!
//! A gate that reads `/public/..%2fadmin` in one way and a handler, a proxy or a file system that
//! reads it in another is how guarded routes get reached. Such paths are refused before anything is
//! decided by them:
//!
//! 1. an empty segment: `//` anywhere. One slash at the end is fine.
//! 2. a dot segment: `.` or `..`, each dot raw or as `%2e`. It ends where any parser would end it:
//!    at the end of the path, at `/`, at the other separators below, and at a path parameter
//!    (`/..;x/`, `%3b`), which Java servers cut off before they resolve it. `...` and `.a` are
//!    names like any other.
//! 3. an encoded slash: `%2f`. A separator for those who decode first.
//! 4. a backslash: `\` or `%5c`. A separator on Windows and to the WHATWG URL parser.
//! 5. an encoded NUL byte: `%00`. The end of the text in C.
//!
//! Hex digits count in either case. A `%` is decoded once: `%252f` is the text `%2f`, to everyone.

use std::fmt;

/// A part of a request path that two parsers could read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PathForm {
    /// `//`.
    EmptySegment,
    /// `.` or `..` as a segment, raw or encoded.
    DotSegment,
    /// `%2f`.
    EncodedSlash,
    /// `\`, raw or as `%5c`.
    Backslash,
    /// `%00`.
    EncodedNul,
}

impl PathForm {
    pub(crate) const ALL: [Self; 5] = [
        Self::EmptySegment,
        Self::DotSegment,
        Self::EncodedSlash,
        Self::Backslash,
        Self::EncodedNul,
    ];
}

impl fmt::Display for PathForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptySegment => "an empty segment (`//`)",
            Self::DotSegment => "a dot segment (`.` or `..`)",
            Self::EncodedSlash => "an encoded slash (`%2f`)",
            Self::Backslash => "a backslash (`\\` or `%5c`)",
            Self::EncodedNul => "an encoded NUL byte (`%00`)",
        })
    }
}

/// A set of [`PathForm`]s. The default is the empty one.
///
/// ```
/// use tower_api_key::{PathForm, PathForms};
/// let forms = PathForms::from_iter([PathForm::EncodedSlash]);
/// assert!(forms.contains(PathForm::EncodedSlash));
/// assert!(!PathForms::default().contains(PathForm::EncodedSlash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PathForms(u8);

impl PathForms {
    /// Whether `form` is one of these.
    pub const fn contains(self, form: PathForm) -> bool {
        self.0 & (1 << form as u8) != 0
    }
}

impl FromIterator<PathForm> for PathForms {
    fn from_iter<I: IntoIterator<Item = PathForm>>(forms: I) -> Self {
        Self(forms.into_iter().fold(0, |set, form| set | 1 << form as u8))
    }
}

impl fmt::Debug for PathForms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = PathForm::ALL.into_iter();
        f.debug_set()
            .entries(forms.filter(|form| self.contains(*form)))
            .finish()
    }
}

/// The first form in a path that is not admitted.
///
/// An admitted separator still separates: where `%2f` is admitted, `/a/..%2fb` has a dot segment.
/// An empty segment is `//` only, so that an admitted `%2f` lets `/http:%2f%2fexample.com` pass.
pub(crate) fn ambiguity(path: &str, admitted: PathForms) -> Option<PathForm> {
    let path = path.as_bytes();
    if is_plain(path) {
        return None;
    }
    let refused = |form: PathForm| (!admitted.contains(form)).then_some(form);
    let dot_segment_at = |at: usize| {
        let found = begins_with_dot_segment(&path[at..]);
        found.then_some(PathForm::DotSegment).and_then(refused)
    };
    // A path that does not begin with a slash has a first segment all the same.
    let mut found = dot_segment_at(0);
    let mut at = 0;
    while found.is_none() && at < path.len() {
        let (form, length) = match &path[at..] {
            [b'/', b'/', ..] => (refused(PathForm::EmptySegment), 1),
            [b'/', ..] => (None, 1),
            [b'\\', ..] => (refused(PathForm::Backslash), 1),
            [b'%', b'2', b'f' | b'F', ..] => (refused(PathForm::EncodedSlash), 3),
            [b'%', b'5', b'c' | b'C', ..] => (refused(PathForm::Backslash), 3),
            [b'%', b'0', b'0', ..] => (refused(PathForm::EncodedNul), 3),
            _ => {
                at += 1;
                continue;
            }
        };
        at += length;
        found = form.or_else(|| dot_segment_at(at));
    }
    found
}

/// Whether nothing in a path can be part of one of the forms: true for nearly all of them.
fn is_plain(path: &[u8]) -> bool {
    let Some(last) = path.last_chunk::<9>() else {
        // Too short for words, and as quickly read with care.
        return false;
    };
    // Eight bytes at a time, beside the eight that follow one by one; the last ones overlap.
    let mut plain = path[0] != b'.' && last[8] != b'\\' && is_plain_window(last);
    let mut rest = path;
    while let (true, Some(window)) = (plain, rest.first_chunk::<9>()) {
        plain = is_plain_window(window);
        rest = &rest[8..];
    }
    plain
}

/// Whether the first eight bytes are plain before those that follow each of them.
fn is_plain_window(window: &[u8; 9]) -> bool {
    const EACH_BYTE: u64 = u64::from_le_bytes([1; 8]);
    const UPPER_BITS: u64 = EACH_BYTE << 7;
    let [first @ .., _] = window;
    let [_, second @ ..] = window;
    let (bytes, next) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
    let all = |byte: u8| EACH_BYTE * u64::from(byte);
    // Zero where it is found. A slash and a dot differ in the last bit only.
    let percent = bytes ^ all(b'%');
    let backslash = bytes ^ all(b'\\');
    let slash_before_slash_or_dot = (bytes ^ all(b'/')) | ((next | EACH_BYTE) ^ all(b'/'));
    // Taking one from a zero byte borrows into its upper bit; so may a byte above one, no matter.
    [percent, backslash, slash_before_slash_or_dot]
        .iter()
        .all(|word| word.wrapping_sub(EACH_BYTE) & !word & UPPER_BITS == 0)
}

fn begins_with_dot_segment(mut rest: &[u8]) -> bool {
    let mut dots = 0;
    while let [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] = rest {
        rest = after;
        dots += 1;
    }
    (dots == 1 || dots == 2)
        && matches!(
            rest,
            [] | [b'/' | b'\\' | b';', ..]
                | [b'%', b'2', b'f' | b'F', ..]
                | [b'%', b'5', b'c' | b'C', ..]
                | [b'%', b'3', b'b' | b'B', ..]
                | [b'%', b'0', b'0', ..]
        )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The forms in a path, read slowly: everything decoded, then split.
    fn forms(path: &str) -> BTreeSet<PathForm> {
        let lower = path.to_ascii_lowercase();
        let mut forms = BTreeSet::new();
        for (text, form) in [
            ("//", PathForm::EmptySegment),
            ("%2f", PathForm::EncodedSlash),
            ("\\", PathForm::Backslash),
            ("%5c", PathForm::Backslash),
            ("%00", PathForm::EncodedNul),
        ] {
            if lower.contains(text) {
                forms.insert(form);
            }
        }
        let mut decoded = lower.replace("%2e", ".").replace("%3b", ";");
        for separator in ["%2f", "%5c", "%00", "\\"] {
            decoded = decoded.replace(separator, "/");
        }
        let names = decoded
            .split('/')
            .filter_map(|segment| segment.split(';').next());
        if names.into_iter().any(|name| name == "." || name == "..") {
            forms.insert(PathForm::DotSegment);
        }
        forms
    }

    #[test]
    fn plain_paths_are_unambiguous() {
        for path in [
            "",
            "*",
            "/",
            "/a",
            "/a/",
            "/api/rest/v1/engines",
            "/...",
            "/.a",
            "/..a",
            "/a..",
            "/a.",
            "/a./b",
            "/.well-known/x",
            "/%2e%2e%2e/",
            "/a%20b",
            "/a%2",
            "/a%",
            "/%2",
            "/%252f",
            "/%c3%a9",
            "/é",
            "/a;b=c/d",
            "/;x",
            "/a+b",
            "/~x",
            "/%2ea",
            "/:id",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(ambiguity(path, PathForms::default()), None, "{path}");
        }
    }

    #[test]
    fn each_form_is_named() {
        use PathForm::*;
        for (form, paths) in [
            (
                EmptySegment,
                &["//", "//a", "/a//", "/a//b", "a//b", "/a///b"][..],
            ),
            (
                DotSegment,
                &[
                    "/.",
                    "/..",
                    "/./a",
                    "/../a",
                    "/a/.",
                    "/a/..",
                    "/a/./b",
                    "/a/../b",
                    ".",
                    "..",
                    "../a",
                    "/%2e",
                    "/%2E%2e/a",
                    "/.%2E",
                    "/a/%2e./b",
                    "/..;/a",
                    "/.;x=1/a",
                    "/..%3b/a",
                    "/..%3B",
                    "/..\\a",
                    "/..%2fa",
                    "/.%5Ca",
                    "/..%00",
                ],
            ),
            (EncodedSlash, &["/a%2fb", "/a%2Fb", "/%2f", "/a%2f"]),
            (Backslash, &["/a\\b", "\\", "/a%5cb", "/a%5C"]),
            (EncodedNul, &["/a%00", "/%00", "/a%00b/c"]),
        ] {
            for path in paths {
                assert_eq!(ambiguity(path, PathForms::default()), Some(form), "{path}");
            }
        }
    }

    #[test]
    fn admitted_form_passes_and_another_one_beside_it_is_named() {
        let admitted = PathForms::from_iter([PathForm::EncodedSlash]);
        assert_eq!(ambiguity("/files/a%2fb", admitted), None);
        assert_eq!(ambiguity("/fetch/http:%2F%2Fexample.com", admitted), None);
        assert_eq!(
            ambiguity("/a%2fb//c", admitted),
            Some(PathForm::EmptySegment)
        );
        assert_eq!(
            ambiguity("/a%2f..%2fb", admitted),
            Some(PathForm::DotSegment)
        );
        assert_eq!(ambiguity("/a/..%2fb", admitted), Some(PathForm::DotSegment));
        let all = PathForms::from_iter(PathForm::ALL);
        assert_eq!(ambiguity("/..//%2f\\%5c%00", all), None);
    }

    #[test]
    fn debug_form_of_a_set_lists_it() {
        let forms = PathForms::from_iter([PathForm::EncodedNul, PathForm::EmptySegment]);
        assert_eq!(format!("{forms:?}"), "{EmptySegment, EncodedNul}");
    }

    #[test]
    fn every_form_has_words_of_its_own() {
        let words: BTreeSet<_> = PathForm::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), PathForm::ALL.len());
    }

    fn any_path() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "/", "/", ".", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "\\", "%00",
            ";", "%3b", "%3B", "%", "2", "f", "e", "0", "%2", "%25", "a", "é", "\0",
        ]);
        prop_oneof![
            prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn slow_reading_finds_the_same(
            path in any_path(),
            admitted in prop::sample::subsequence(PathForm::ALL.to_vec(), 0..=5),
        ) {
            let mut forms = forms(&path);
            forms.retain(|form| !admitted.contains(form));
            match ambiguity(&path, PathForms::from_iter(admitted)) {
                Some(form) => prop_assert!(forms.contains(&form), "{form:?} not in {forms:?}"),
                None => prop_assert!(forms.is_empty(), "missed {forms:?}"),
            }
        }

        #[test]
        fn set_contains_what_it_was_made_of(
            forms in prop::sample::subsequence(PathForm::ALL.to_vec(), 0..=5),
        ) {
            let set = PathForms::from_iter(forms.iter().copied());
            for form in PathForm::ALL {
                prop_assert_eq!(set.contains(form), forms.contains(&form));
            }
        }
    }
}
