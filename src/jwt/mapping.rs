//! Which claims say what a principal may do.

use crate::{
    jwt::json::{Json, Object},
    token::{Principal, TokenError},
};

/// Which claims of an issuer stand for scopes, modules, tier and name.
///
/// A claim is named by its name, or, where it lies inside others, by a JSON pointer (RFC 6901) such
/// as `/realm_access/roles`. Where several values are possible it is an array of texts, or one text
/// of words with spaces between them. A claim that is there but of another form makes the token
/// invalid; one that is not there grants nothing. No claim makes anybody an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    scopes: Vec<Box<str>>,
    modules: Option<Box<str>>,
    tier: Option<Box<str>>,
    name: Option<Box<str>>,
}

impl ClaimMapping {
    /// Scopes from `scope`, or else `scp`; the name from `name`; no modules and no tier.
    pub fn new() -> Self {
        Self {
            scopes: vec!["scope".into(), "scp".into()],
            modules: None,
            tier: None,
            name: Some("name".into()),
        }
    }

    /// The claim with the scopes; nothing: a token has none. By default `scope`, or else `scp`.
    ///
    /// ```
    /// # use tower_api_key::jwt::ClaimMapping;
    /// ClaimMapping::new().with_scopes_from(Some("/realm_access/roles"));
    /// ```
    #[must_use]
    pub fn with_scopes_from(mut self, claim: Option<&str>) -> Self {
        self.scopes = claim.map(Into::into).into_iter().collect();
        self
    }

    /// The claim with the modules that a token grants. By default none.
    ///
    /// ```
    /// # use tower_api_key::jwt::ClaimMapping;
    /// ClaimMapping::new().with_modules_from(Some("https://hub.example/modules"));
    /// ```
    #[must_use]
    pub fn with_modules_from(mut self, claim: Option<&str>) -> Self {
        self.modules = claim.map(Into::into);
        self
    }

    /// The claim with the rate tier. By default none, so everyone has the default tier.
    ///
    /// ```
    /// # use tower_api_key::jwt::ClaimMapping;
    /// ClaimMapping::new().with_tier_from(Some("tier"));
    /// ```
    #[must_use]
    pub fn with_tier_from(mut self, claim: Option<&str>) -> Self {
        self.tier = claim.map(Into::into);
        self
    }

    /// The claim with a name for people. By default `name`.
    ///
    /// ```
    /// # use tower_api_key::jwt::ClaimMapping;
    /// ClaimMapping::new().with_name_from(Some("preferred_username"));
    /// ```
    #[must_use]
    pub fn with_name_from(mut self, claim: Option<&str>) -> Self {
        self.name = claim.map(Into::into);
        self
    }

    /// Writes into `principal` what `claims` say.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] where a claim has another form.
    pub(crate) fn apply(
        &self,
        claims: &Object<'_>,
        principal: &mut Principal,
    ) -> Result<(), TokenError> {
        if let Some(scopes) = self.scopes.iter().find_map(|claim| find(claims, claim)) {
            principal.scopes = names(scopes, MOST_SCOPES)?;
        }
        if let Some(modules) = claim(claims, self.modules.as_deref()) {
            principal.modules = names(modules, MOST_MODULES)?;
        }
        if let Some(tier) = claim(claims, self.tier.as_deref()) {
            principal.tier = Some(name(text(tier)?)?);
        }
        if let Some(name) = claim(claims, self.name.as_deref()) {
            // One that would not do for a key is left out: it is there for people only.
            principal.name = Some(text(name)?)
                .filter(|name| is_fit_for_people(name))
                .map(Into::into);
        }
        Ok(())
    }
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self::new()
    }
}

/// 1 to 200 characters, none of them a control character: the rule for the names of keys.
pub(crate) fn is_fit_for_people(name: &str) -> bool {
    (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

fn claim<'c, 't>(claims: &'c Object<'t>, claim: Option<&str>) -> Option<&'c Json<'t>> {
    find(claims, claim?)
}

/// The value of a claim; `null` is as good as none.
fn find<'c, 't>(claims: &'c Object<'t>, claim: &str) -> Option<&'c Json<'t>> {
    let value = match claim.strip_prefix('/') {
        None => claims.get(claim)?,
        Some(pointer) => {
            let mut names = pointer.split('/').map(unescaped);
            let first = claims.get(&names.next()?)?;
            names.try_fold(first, |value, name| match value {
                Json::Object(object) => object.get(&name),
                _ => None,
            })?
        }
    };
    (*value != Json::Null).then_some(value)
}

/// A part of a JSON pointer (RFC 6901 §4).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn text<'c>(value: &'c Json<'_>) -> Result<&'c str, TokenError> {
    value.text().ok_or(TokenError::Invalid)
}

fn name<'c, T: TryFrom<&'c str>>(text: &'c str) -> Result<T, TokenError> {
    T::try_from(text).map_err(|_| TokenError::Invalid)
}

fn names<'c, T: TryFrom<&'c str>>(value: &'c Json<'_>, most: usize) -> Result<Vec<T>, TokenError> {
    let names: Vec<T> = match value {
        Json::Text(words) => words
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(name)
            .collect::<Result<_, _>>()?,
        Json::Array(items) => items
            .iter()
            .map(|item| name(text(item)?))
            .collect::<Result<_, _>>()?,
        _ => return Err(TokenError::Invalid),
    };
    if names.len() > most {
        return Err(TokenError::Invalid);
    }
    Ok(names)
}

// As many as a key may have.
pub(crate) const MOST_SCOPES: usize = 200;
pub(crate) const MOST_MODULES: usize = 1_000;
