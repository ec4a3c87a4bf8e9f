//! Reading an object, so that whoever wrote it learns which field is wrong.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is wrong with a line: the field, where it is one, and the problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) field: Option<String>,
    pub(super) problem: String,
}

impl Flaw {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            problem: problem.into(),
        }
    }

    pub(super) fn whole(problem: impl Into<String>) -> Self {
        Self {
            field: None,
            problem: problem.into(),
        }
    }

    /// The same, of an object that is the field `outer` of another one.
    pub(super) fn within(self, outer: &str) -> Self {
        let field = match self.field {
            Some(field) => format!("{outer}.{field}"),
            None => outer.to_owned(),
        };
        Self::new(field, self.problem)
    }
}

/// Reads an object.
pub(super) fn read<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, Flaw> {
    let problem = match attempt::<T>(object.clone()) {
        Ok(value) => return Ok(value),
        Err(problem) => problem,
    };
    if let Some(field) = missing(&problem)
        && !object.contains_key(field)
    {
        return Err(Flaw::new(field, "is missing"));
    }
    // serde does not say which field it was: the one without which the problem is another.
    let is_culprit = |field: &&String| {
        let mut others = object.clone();
        others.remove(*field);
        match attempt::<T>(others) {
            Ok(_) => true,
            Err(other) => other != problem && missing(&other).is_none_or(|gone| gone == *field),
        }
    };
    // Without its tag nothing is read of an enum, whatever is wrong.
    let (tag, fields): (Vec<_>, Vec<_>) = object.keys().partition(|field| *field == TAG);
    let culprit = fields.into_iter().chain(tag).find(is_culprit);
    Err(match culprit {
        Some(field) => Flaw::new(field, problem),
        None => Flaw::whole(problem),
    })
}

/// That of `EventKind`.
const TAG: &str = "event";

fn attempt<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

/// The field that a problem says is missing.
fn missing(problem: &str) -> Option<&str> {
    let rest = problem.strip_prefix("missing field `")?;
    rest.strip_suffix('`')
}
