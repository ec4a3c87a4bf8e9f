//! Checked text identifiers: one rule per kind, parsed at the edge, cheap to clone.

use thiserror::Error;

/// A text that is not a valid identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} {text:?} is invalid: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        // A name can come from a client's input: an error message must stay readable.
        let text = text.chars().take(80).collect();
        Self { kind, text, rule }
    }

    /// What the text was meant to be, for example `"module"`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The rule that the text breaks.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

/// Declares an `Arc<str>` newtype with one validity rule, its parsers and its text forms.
macro_rules! name_type {
    (
        $(#[$doc:meta])*
        $name:ident, $kind:literal, $rule:literal, $valid:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            #[doc = concat!("Parses a ", $kind, ".")]
            ///
            /// # Errors
            ///
            #[doc = concat!("[`InvalidName`](crate::InvalidName) where the text breaks the rule: ", $rule, ".")]
            pub fn new(text: impl AsRef<str>) -> Result<Self, $crate::name::InvalidName> {
                let text = text.as_ref();
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err($crate::name::InvalidName::new($kind, text, $rule))
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::name::InvalidName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::name::InvalidName;
            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::name::InvalidName;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use name_type;

/// The one with this name among `items`, which are in order of their names.
pub(crate) fn find<'a, T>(
    items: &'a [T],
    name: &str,
    name_of: impl Fn(&T) -> &str,
) -> Option<&'a T> {
    // Most lists are short, and those are searched faster from the front than by halves.
    if items.len() <= 16 {
        return items.iter().find(|item| name_of(item) == name);
    }
    let found = items
        .binary_search_by(|item| name_of(item).cmp(name))
        .ok()?;
    Some(&items[found])
}

/// Visible ASCII (`!` to `~`), at least one and at most `most` bytes.
pub(crate) fn visible_ascii(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Visible ASCII that can be a URL path segment: neither `.` nor `..`, which clients take for a step in
/// the path, even encoded (WHATWG URL, "double-dot URL path segment").
pub(crate) fn segment(text: &str, most: usize) -> bool {
    visible_ascii(text, most) && text != "." && text != ".."
}

/// RFC 3986 unreserved characters (letters, digits, `-`, `.`, `_`, `~`), so that the text is one
/// URL path segment as it stands; neither `.` nor `..`.
pub(crate) fn unreserved(text: &str, most: usize) -> bool {
    segment(text, most)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_short_and_long_lists() {
        for count in [0, 1, 3, 16, 17, 100] {
            let mut names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            names.sort();
            for name in &names {
                assert_eq!(find(&names, name, String::as_str), Some(name), "of {count}");
            }
            for absent in ["", "n", "n100", "o"] {
                assert_eq!(find(&names, absent, String::as_str), None, "of {count}");
            }
        }
    }
}
