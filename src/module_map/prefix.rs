//! The tree of prefixes, segment by segment.

use std::collections::HashMap;

use http::Method;

use crate::module_map::{methods::MethodTable, pattern::Segment, text_hash::TextHash};

/// Finds the most specific prefix that covers a path and a method.
///
/// matchit cannot: it refuses `/engines/{*rest}` beside `/engines/{id}/nodes/{*rest}`, and it
/// knows no methods, so it cannot go on where the first prefix does not cover one.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefixTree {
    /// The entries of the prefix that ends here.
    methods: MethodTable,
    literals: HashMap<Box<str>, Self, TextHash>,
    /// By the literal text before the parameter, the longest first.
    params: Vec<(Box<str>, Self)>,
}

impl PrefixTree {
    /// The methods of the prefix with these segments.
    pub(super) fn methods_mut(&mut self, segments: &[Segment]) -> &mut MethodTable {
        let Some((segment, rest)) = segments.split_first() else {
            return &mut self.methods;
        };
        let child = match segment {
            Segment::Literal(text) => self.literals.entry(text.clone()).or_default(),
            Segment::Param(text) | Segment::CatchAll(text) => {
                let longer = |(known, _): &(Box<str>, _)| known.len() > text.len();
                let known = self.params.iter().position(|(known, _)| known == text);
                let place = known.unwrap_or_else(|| {
                    let place = self.params.partition_point(longer);
                    self.params.insert(place, (text.clone(), Self::default()));
                    place
                });
                &mut self.params[place].1
            }
        };
        child.methods_mut(rest)
    }

    /// The entry of the most specific prefix that covers this method and this path.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<u32> {
        self.below(method, Some(path.strip_prefix('/')?))
    }

    /// `rest` is what follows the slash after this prefix, if there is one.
    fn below(&self, method: &Method, rest: Option<&str>) -> Option<u32> {
        let deeper = rest.and_then(|rest| {
            let (segment, rest) = match rest.split_once('/') {
                Some((segment, rest)) => (segment, Some(rest)),
                None => (rest, None),
            };
            let literal = self.literals.get(segment);
            // In the middle of a path matchit lets a parameter be empty; so do we, or a router
            // could serve a path that its prefix does not guard.
            let params = self.params.iter().filter(|(text, _)| {
                segment.starts_with(&**text) && (segment.len() > text.len() || rest.is_some())
            });
            literal
                .into_iter()
                .chain(params.map(|(_, child)| child))
                .find_map(|child| child.below(method, rest))
        });
        deeper.or_else(|| self.methods.find(method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module_map::{methods::Methods, pattern::Pattern};

    /// A tree of prefixes for any method; the entries are the places in the list.
    fn tree(prefixes: &[&str]) -> PrefixTree {
        let mut tree = PrefixTree::default();
        for (entry, text) in (0..).zip(prefixes) {
            let pattern = Pattern::parse(text, true).unwrap();
            let methods = tree.methods_mut(pattern.segments());
            methods.add(&Methods::Any, entry).unwrap();
        }
        tree
    }

    fn found<'a>(prefixes: &[&'a str], path: &str) -> Option<&'a str> {
        let entry = tree(prefixes).find(&Method::GET, path)?;
        Some(prefixes[entry as usize])
    }

    #[test]
    fn a_prefix_covers_itself_with_and_without_a_slash_and_all_below() {
        for path in [
            "/lino",
            "/lino/",
            "/lino/x",
            "/lino/x/y/",
            "/lino//",
            "/lino/../x",
        ] {
            assert_eq!(found(&["/lino"], path), Some("/lino"), "{path}");
        }
        for path in [
            "/linoX", "/lin", "/", "", "*", "lino", "/Lino", "/x/lino", "//lino",
        ] {
            assert_eq!(found(&["/lino"], path), None, "{path}");
        }
    }

    #[test]
    fn the_root_covers_every_path_that_is_one() {
        for path in ["/", "//", "/a", "/a/b/c"] {
            assert_eq!(found(&["/"], path), Some("/"), "{path}");
        }
        for path in ["", "*", "example.com:443"] {
            assert_eq!(found(&["/"], path), None, "{path}");
        }
    }

    #[test]
    fn the_longest_of_nested_prefixes_decides() {
        let prefixes = ["/engines", "/engines/{id}/nodes", "/"];
        assert_eq!(found(&prefixes, "/engines"), Some("/engines"));
        assert_eq!(found(&prefixes, "/engines/7"), Some("/engines"));
        assert_eq!(
            found(&prefixes, "/engines/7/nodes"),
            Some("/engines/{id}/nodes")
        );
        assert_eq!(
            found(&prefixes, "/engines/7/nodes/8"),
            Some("/engines/{id}/nodes")
        );
        assert_eq!(found(&prefixes, "/engines/7/nodesX"), Some("/engines"));
        assert_eq!(found(&prefixes, "/shows"), Some("/"));
    }

    #[test]
    fn a_parameter_goes_on_where_the_literal_branch_ends_in_nothing() {
        let prefixes = ["/a/b/x", "/a/{p}/c/d", "/a"];
        assert_eq!(found(&prefixes, "/a/b/x/1"), Some("/a/b/x"));
        assert_eq!(found(&prefixes, "/a/b/c/d/1"), Some("/a/{p}/c/d"));
        assert_eq!(found(&prefixes, "/a/b/c"), Some("/a"));
    }

    #[test]
    fn literal_text_wins_over_a_parameter_in_the_same_place() {
        let prefixes = ["/a/{p}/c", "/a/b", "/a/b{p}"];
        assert_eq!(found(&prefixes, "/a/b/c"), Some("/a/b"), "as in a router");
        assert_eq!(found(&prefixes, "/a/bc/c"), Some("/a/b{p}"));
        assert_eq!(found(&prefixes, "/a/c/c"), Some("/a/{p}/c"));
    }

    #[test]
    fn a_parameter_is_empty_only_where_a_slash_follows() {
        assert_eq!(found(&["/a/{p}"], "/a/"), None);
        assert_eq!(found(&["/a/{p}"], "/a//"), Some("/a/{p}"));
        assert_eq!(found(&["/a/v{p}"], "/a/v"), None);
        assert_eq!(found(&["/a/v{p}"], "/a/v/"), Some("/a/v{p}"));
    }

    #[test]
    fn a_prefix_without_the_method_leaves_it_to_the_next() {
        let mut tree = tree(&["/a"]);
        let pattern = Pattern::parse("/a/b", true).unwrap();
        let get = Methods::only([Method::GET]);
        tree.methods_mut(pattern.segments()).add(&get, 1).unwrap();
        assert_eq!(tree.find(&Method::GET, "/a/b/c"), Some(1));
        assert_eq!(tree.find(&Method::HEAD, "/a/b/c"), Some(1));
        assert_eq!(tree.find(&Method::POST, "/a/b/c"), Some(0));
    }
}
