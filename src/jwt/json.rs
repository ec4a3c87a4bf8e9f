//! JSON objects that can be read in one way only.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// A text that is no JSON object (RFC 8259), or one that two parsers could read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no JSON object without duplicate members and within its limits")]
pub(crate) struct InvalidJson;

/// A JSON value whose texts are those of the input, where they have no escapes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'t> {
    Null,
    Bool(bool),
    Integer(i64),
    /// One with a fraction, or one that no `i64` holds.
    Float(f64),
    Text(Cow<'t, str>),
    Array(Vec<Json<'t>>),
    Object(Object<'t>),
}

impl Json<'_> {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A JSON object: no two members have the same name, also in the objects inside it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object<'t>(Vec<(Cow<'t, str>, Json<'t>)>);

impl<'t> Object<'t> {
    /// Parses a text that is one object, of at most `most` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidJson`] where it is none, is longer, has a member twice at any depth, is nested
    /// deeper than 8 levels, or has more than 256 members in one object.
    pub(crate) fn parse(text: &'t [u8], most: usize) -> Result<Self, InvalidJson> {
        if text.len() > most {
            return Err(InvalidJson);
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = AtDepth(0).deserialize(&mut reader);
        match (value, reader.end()) {
            (Ok(Json::Object(object)), Ok(())) => Ok(object),
            _ => Err(InvalidJson),
        }
    }

    /// The member with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'t>> {
        let member = self.0.iter().find(|(known, _)| known == name);
        member.map(|(_, value)| value)
    }

    /// The member with this name, where the object has no other.
    pub(crate) fn only(&self, name: &str) -> Option<&Json<'t>> {
        self.get(name).filter(|_| self.0.len() == 1)
    }

    /// Whether there is a member with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The text under this name; nothing where there is none, or another value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
}

/// Reads a value that lies in so many containers.
#[derive(Clone, Copy)]
struct AtDepth(usize);

const DEEPEST: usize = 8;
const MOST_MEMBERS: usize = 256;
/// What serde_json calls the only member of a number, where some other crate of the same program
/// enables its feature `arbitrary_precision`.
const NUMBER_IN_DISGUISE: &str = "$serde_json::private::Number";

impl AtDepth {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.0 == DEEPEST {
            return Err(E::custom("too deep"));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'t> DeserializeSeed<'t> for AtDepth {
    type Value = Json<'t>;
    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Json<'t>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for AtDepth {
    type Value = Json<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'t>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'t>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'t>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'t>, E> {
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'t>, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Json<'t>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'t>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Json<'t>, A::Error> {
        let deeper = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Json<'t>, A::Error> {
        let deeper = self.deeper()?;
        let mut object: Vec<(Cow<'t, str>, Json<'t>)> = Vec::new();
        while let Some(name) = members.next_key_seed(Name)? {
            if name == NUMBER_IN_DISGUISE {
                return number(&members.next_value::<Cow<'_, str>>()?);
            }
            if object.len() == MOST_MEMBERS || object.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom("a member too many"));
            }
            object.push((name, members.next_value_seed(deeper)?));
        }
        Ok(Json::Object(Object(object)))
    }
}

fn number<'t, E: de::Error>(text: &str) -> Result<Json<'t>, E> {
    if let Ok(integer) = text.parse() {
        return Ok(Json::Integer(integer));
    }
    let float = text.parse().ok().filter(|float: &f64| float.is_finite());
    float.map(Json::Float).ok_or_else(|| E::custom("no number"))
}

/// Reads a member's name, without a copy where it has no escapes.
struct Name;

impl<'t> DeserializeSeed<'t> for Name {
    type Value = Cow<'t, str>;
    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Cow<'t, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for Name {
    type Value = Cow<'t, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'t str) -> Result<Cow<'t, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'t, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Object<'_>, InvalidJson> {
        Object::parse(text.as_bytes(), 4_096)
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = r#"{"n":null,"b":true,"i":-7,"u":18446744073709551615,"f":1.5,"t":"a\u00e9","a":[1,"x"],"o":{"n":1}}"#;
        let object = parse(text).unwrap();
        assert_eq!(object.get("n"), Some(&Json::Null));
        assert_eq!(object.get("b"), Some(&Json::Bool(true)));
        assert_eq!(object.get("i"), Some(&Json::Integer(-7)));
        assert_eq!(object.get("u"), Some(&Json::Float(u64::MAX as f64)));
        assert_eq!(object.get("f"), Some(&Json::Float(1.5)));
        assert_eq!(object.text("t"), Some("aé"));
        let array = vec![Json::Integer(1), Json::Text("x".into())];
        assert_eq!(object.get("a"), Some(&Json::Array(array)));
        let inner = Object(vec![("n".into(), Json::Integer(1))]);
        assert_eq!(object.get("o"), Some(&Json::Object(inner)));
        assert_eq!(object.text("i"), None, "another kind of value is no text");
        assert!(!object.has("none"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let refused = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"o":{"a":1,"b":2,"a":3}}"#,
            r#"{"o":[{"a":1,"a":3}]}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"\ud800":1}"#,
            r#"{"a":1}{"a":2}"#,
            r#"{"a":1} x"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            r#"{"a":01}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1/**/}"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"\0\"}",
            "\u{feff}{}",
            r#"{"a""#,
            "[]",
            "null",
            "1",
            r#""{}""#,
            "",
        ];
        for text in refused {
            assert_eq!(parse(text), Err(InvalidJson), "{text}");
        }
        let latin = b"{\"a\":\"\xe9\"}";
        assert_eq!(Object::parse(latin, 100), Err(InvalidJson), "not UTF-8");
        assert!(parse(" {\"a\" : 1}\r\n\t").is_ok());
    }

    #[test]
    fn depth_members_and_size_are_limited() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(parse(&nested(DEEPEST)).is_ok());
        assert_eq!(parse(&nested(DEEPEST + 1)), Err(InvalidJson));
        let arrays = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&arrays(DEEPEST - 1)).is_ok());
        assert_eq!(parse(&arrays(DEEPEST)), Err(InvalidJson));
        let deepest = "[".repeat(1_000_000);
        assert_eq!(
            Object::parse(deepest.as_bytes(), 2_000_000),
            Err(InvalidJson)
        );

        let members = |count| {
            let members: Vec<String> = (0..count).map(|n| format!("\"m{n}\":{n}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(parse(&members(MOST_MEMBERS)).is_ok());
        assert_eq!(parse(&members(MOST_MEMBERS + 1)), Err(InvalidJson));

        assert!(Object::parse(br#"{"a":1}"#, 7).is_ok());
        assert_eq!(Object::parse(br#"{"a":1}"#, 6), Err(InvalidJson));
    }

    /// With `arbitrary_precision`, which any crate of a program can switch on for all of them,
    /// serde_json hands out numbers as objects like these.
    #[test]
    fn numbers_in_disguise_are_numbers() {
        let text = r#"{"i":{"$serde_json::private::Number":"12"},"f":{"$serde_json::private::Number":"1.5"}}"#;
        let object = parse(text).unwrap();
        assert_eq!(object.get("i"), Some(&Json::Integer(12)));
        assert_eq!(object.get("f"), Some(&Json::Float(1.5)));
        for text in ["1e999", "NaN", "inf", "", "x"] {
            let text = format!(r#"{{"i":{{"$serde_json::private::Number":"{text}"}}}}"#);
            assert_eq!(parse(&text), Err(InvalidJson), "{text}");
        }
    }
}
