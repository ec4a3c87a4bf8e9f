//! Sets of methods, and the table from a method to an entry.

use std::fmt;

use http::Method;

/// The methods an entry covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Methods {
    Any,
    /// Without repetition and without HEAD, which counts as GET.
    Only(Box<[Method]>),
}

impl Methods {
    pub(super) fn only(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut distinct = Vec::new();
        for method in methods {
            if !distinct.contains(&method) {
                distinct.push(method);
            }
        }
        Self::Only(distinct.into())
    }

    pub(super) fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Only(methods), Self::Any) | (Self::Any, Self::Only(methods)) => {
                !methods.is_empty()
            }
            (Self::Any, Self::Any) => true,
            (Self::Only(a), Self::Only(b)) => a.iter().any(|method| b.contains(method)),
        }
    }

    /// What is left of these methods without those of `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        match (self, other) {
            (_, Self::Any) => Self::Only([].into()),
            // There is always one more method: whoever covers any stays one who covers any.
            (Self::Any, Self::Only(_)) => Self::Any,
            (Self::Only(a), Self::Only(b)) => {
                Self::Only(a.iter().filter(|m| !b.contains(m)).cloned().collect())
            }
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("ANY"),
            Self::Only(methods) => {
                let names: Vec<_> = methods.iter().map(Method::as_str).collect();
                f.pad(&names.join(", "))
            }
        }
    }
}

/// Which entry decides for a method: one that names it before one for any method.
#[derive(Debug, Clone, Default)]
pub(super) struct MethodTable {
    standard: [Option<u32>; STANDARD],
    any: Option<u32>,
    extensions: Vec<(Method, u32)>,
}

const STANDARD: usize = 8;

impl MethodTable {
    /// The entry for this method. HEAD counts as GET.
    pub(super) fn find(&self, method: &Method) -> Option<u32> {
        let named = match place(method) {
            Some(place) => self.standard[place],
            None => {
                let named = self.extensions.iter().find(|(known, _)| known == method);
                named.map(|(_, entry)| *entry)
            }
        };
        named.or(self.any)
    }

    pub(super) fn covers_any(&self) -> bool {
        self.any.is_some()
    }

    /// Adds an entry, or answers with one that already has one of its methods.
    pub(super) fn add(&mut self, methods: &Methods, entry: u32) -> Result<(), u32> {
        match methods {
            Methods::Any => claim(&mut self.any, entry),
            Methods::Only(methods) => methods.iter().try_for_each(|method| match place(method) {
                Some(place) => claim(&mut self.standard[place], entry),
                None => match self.extensions.iter().find(|(known, _)| known == method) {
                    Some((_, existing)) => Err(*existing),
                    None => {
                        self.extensions.push((method.clone(), entry));
                        Ok(())
                    }
                },
            }),
        }
    }

    /// Lets `wider` decide for the methods that nothing here covers.
    pub(super) fn fall_through_to(&mut self, wider: &Self) {
        if self.covers_any() {
            return;
        }
        for (here, there) in self.standard.iter_mut().zip(wider.standard) {
            *here = here.or(there);
        }
        for (method, entry) in &wider.extensions {
            if !self.extensions.iter().any(|(known, _)| known == method) {
                self.extensions.push((method.clone(), *entry));
            }
        }
        self.any = wider.any;
    }
}

fn claim(place: &mut Option<u32>, entry: u32) -> Result<(), u32> {
    match *place {
        Some(existing) => Err(existing),
        None => {
            *place = Some(entry);
            Ok(())
        }
    }
}

fn place(method: &Method) -> Option<usize> {
    Some(match *method {
        Method::GET | Method::HEAD => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::PATCH => 3,
        Method::DELETE => 4,
        Method::OPTIONS => 5,
        Method::CONNECT => 6,
        Method::TRACE => 7,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge() -> Method {
        Method::from_bytes(b"PURGE").unwrap()
    }

    #[test]
    fn every_standard_method_has_a_place_of_its_own() {
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::CONNECT,
            Method::TRACE,
        ];
        let mut table = MethodTable::default();
        for (entry, method) in (0..).zip(&methods) {
            assert_eq!(table.add(&Methods::only([method.clone()]), entry), Ok(()));
        }
        for (entry, method) in (0..).zip(&methods) {
            assert_eq!(table.find(method), Some(entry));
        }
        assert_eq!(table.find(&purge()), None);
    }

    #[test]
    fn an_extension_method_is_told_by_its_case() {
        let mut table = MethodTable::default();
        table.add(&Methods::only([purge()]), 7).unwrap();
        assert_eq!(table.find(&purge()), Some(7));
        assert_eq!(table.find(&Method::from_bytes(b"purge").unwrap()), None);
        assert_eq!(table.add(&Methods::only([purge()]), 8), Err(7));
    }

    #[test]
    fn a_fall_through_never_replaces_what_is_there() {
        let mut table = MethodTable::default();
        table
            .add(&Methods::only([Method::GET, purge()]), 1)
            .unwrap();
        let mut wider = MethodTable::default();
        wider
            .add(&Methods::only([Method::GET, Method::POST, purge()]), 2)
            .unwrap();
        table.fall_through_to(&wider);
        let mut widest = MethodTable::default();
        widest.add(&Methods::Any, 3).unwrap();
        table.fall_through_to(&widest);
        let mut beyond = MethodTable::default();
        beyond.add(&Methods::only([Method::PUT]), 4).unwrap();
        table.fall_through_to(&beyond);

        assert_eq!(table.find(&Method::GET), Some(1));
        assert_eq!(table.find(&purge()), Some(1));
        assert_eq!(table.find(&Method::POST), Some(2));
        assert_eq!(table.find(&Method::PUT), Some(3), "3 covers any method");
    }

    #[test]
    fn sets_of_methods_subtract_and_overlap() {
        let get_post = Methods::only([Method::GET, Method::POST, Method::GET]);
        let get = Methods::only([Method::GET]);
        assert_eq!(get_post.to_string(), "GET, POST");
        assert_eq!(get_post.without(&get), Methods::only([Method::POST]));
        assert_eq!(get_post.without(&Methods::Any), Methods::only([]));
        assert_eq!(Methods::Any.without(&get), Methods::Any);
        assert!(get_post.overlap(&get) && Methods::Any.overlap(&get));
        assert!(!get.overlap(&Methods::only([Method::POST])));
        assert!(!Methods::only([]).overlap(&Methods::Any));
    }
}
