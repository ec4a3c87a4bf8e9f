//! The name of the schema in statements.

use std::{fmt, sync::Arc};

use sqlx::{AssertSqlSafe, Postgres, postgres::PgArguments, query::Query};

use crate::name::InvalidName;

/// A schema's name, quoted in its `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema(String);

impl Schema {
    /// # Errors
    ///
    /// Where PostgreSQL would cut the name or does not take it.
    pub(super) fn new(name: &str) -> Result<Self, InvalidName> {
        match (1..=63).contains(&name.len()) && !name.contains('\0') {
            true => Ok(Self(name.to_owned())),
            false => Err(InvalidName::new("schema", name, "1 to 63 bytes")),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// The text of a statement that is sent again and again.
pub(super) struct Statement(Arc<str>);

impl Statement {
    /// Of what comes from outside, `text` may hold a [`Schema`] and nothing else.
    pub(super) fn new(text: String) -> Self {
        Self(text.into())
    }

    pub(super) fn query(&self) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(Arc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_quoted() {
        for (name, quoted) in [
            ("keys", "\"keys\""),
            ("Keys of ours", "\"Keys of ours\""),
            ("\"; DROP", "\"\"\"; DROP\""),
        ] {
            assert_eq!(Schema::new(name).unwrap().to_string(), quoted);
        }
    }

    #[test]
    fn name_that_the_server_would_cut_is_refused() {
        assert!(Schema::new(&"a".repeat(63)).is_ok());
        for name in ["", "a\0b", &"a".repeat(64), &"ä".repeat(32)] {
            assert!(Schema::new(name).is_err(), "{name:?}");
        }
    }
}
