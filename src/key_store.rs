//! The contract of the key store, and the record it keeps.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    net::IpAddr,
    str::FromStr,
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    changes::Changes,
    clock::Timestamp,
    error::BackendError,
    license_ledger::Module,
    name::{InvalidName, name_type},
    usage::UsageCount,
};

name_type! {
    /// The public id of a key: stable for its life, never the secret, one URL path segment.
    KeyId, "key id", "1 to 128 letters, digits, `-`, `.`, `_` or `~`", |text| crate::name::unreserved(text, 128)
}

name_type! {
    /// A scope (RFC 6749 §3.3), such as `read:realms`.
    Scope, "scope", "1 to 200 visible ASCII characters without `\"` and `\\`", |text| {
        crate::name::visible_ascii(text, 200) && !text.contains(['"', '\\'])
    }
}

name_type! {
    /// The name of a rate tier, such as `standard`.
    Tier, "tier", "1 to 64 letters, digits, `-`, `.`, `_` or `~`", |text| crate::name::unreserved(text, 64)
}

name_type! {
    /// The environment a key is for: `live` or `test`, or one of your own.
    Environment, "environment", "1 to 16 lower-case letters and digits, starting with a letter", |text| {
        (1..=16).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    }
}

impl Environment {
    /// `live`, the default.
    pub fn live() -> Self {
        Self("live".into())
    }

    /// `test`.
    pub fn test() -> Self {
        Self("test".into())
    }
}

/// What is kept of a key's text: 32 bytes, SHA-256 or HMAC-SHA-256.
///
/// Comparing two takes the same time wherever they differ. Its text form is 64 lower-case hex
/// digits.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

/// What tells one text of a key from another, and neither of them: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint([u8; 16]);

impl KeyFingerprint {
    /// A fingerprint from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl KeyDigest {
    /// A digest from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What tells the text of a key from the one before, without telling either: 16 bytes of the
    /// SHA-256 of the digest.
    pub fn fingerprint(&self) -> KeyFingerprint {
        let hash: [u8; 32] = Sha256::digest(self.0).into();
        KeyFingerprint(std::array::from_fn(|index| hash[index]))
    }

    /// What a token with this digest is remembered under, while this much has changed of what its
    /// verifier said: no text has that for its digest, as far as anybody knows.
    pub(crate) fn of_token(mut self, changes: u64) -> Self {
        for (byte, changes) in self.0.iter_mut().zip(changes.to_ne_bytes()) {
            *byte ^= changes;
        }
        Self(self.0.map(|byte| !byte))
    }

    /// The first of the four words.
    pub(crate) fn first_word(&self) -> u64 {
        self.words()[0]
    }

    /// The bytes as four words, for what works faster on words.
    pub(crate) fn words(&self) -> [u64; 4] {
        std::array::from_fn(|i| u64::from_ne_bytes(std::array::from_fn(|j| self.0[i * 8 + j])))
    }
}

impl ConstantTimeEq for KeyDigest {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        // Word by word the comparison costs a twentieth of one byte by byte, and is as constant.
        let (a, b) = (self.words(), other.words());
        let difference = (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]);
        difference.ct_eq(&0)
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The bytes are as good as random: the first eight are a hash already.
        state.write_u64(self.first_word());
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A digest is no secret, but who logs it can be asked to explain it: four bytes tell two
        // apart.
        write!(
            f,
            "KeyDigest({:02x}{:02x}{:02x}{:02x}…)",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

impl FromStr for KeyDigest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidName::new("key digest", "…", "64 hex digits");
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(invalid);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for KeyDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A range of IP addresses in CIDR notation (RFC 4632), or one address.
///
/// ```
/// use tower_api_key::AddressRange;
/// let range: AddressRange = "10.0.0.0/8".parse()?;
/// assert!(range.contains("10.1.2.3".parse()?));
/// assert!(range.contains("::ffff:10.1.2.3".parse()?), "IPv4 mapped into IPv6 is IPv4");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange(ipnet::IpNet);

impl AddressRange {
    /// Whether `address` is in this range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for AddressRange {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "an IP address, or a range in CIDR notation such as 10.0.0.0/8";
        let invalid = || InvalidName::new("address range", text, rule);
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(address.to_canonical().into())),
            Err(_) => Ok(Self(
                text.parse::<ipnet::IpNet>().map_err(|_| invalid())?.trunc(),
            )),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The old text of a regenerated key, while it still works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreviousDigest {
    /// The digest of the old text.
    pub digest: KeyDigest,
    /// The first instant at which the old text no longer works.
    pub until: Timestamp,
}

impl PreviousDigest {
    /// An old text's digest, with the first instant at which that text no longer works.
    pub const fn new(digest: KeyDigest, until: Timestamp) -> Self {
        Self { digest, until }
    }
}

/// What is stored of a key: everything but its text.
///
/// A store keeps it whole; its serde form is one flat object with RFC 3339 instants, so a store
/// may keep it as one JSON document beside the two columns it searches by (digest and id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The public id.
    pub id: KeyId,
    /// The digest of the text.
    pub digest: KeyDigest,
    /// The old text's digest after a regeneration with grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousDigest>,
    /// What people may see of the text: prefix, environment and the last four characters.
    pub hint: String,
    /// A name for people.
    pub name: String,
    /// The environment.
    pub environment: Environment,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last used, as far as it has been written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// The first instant at which it no longer works; nothing: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Whether it is an administrator's.
    #[serde(default)]
    pub administrator: bool,
    /// Its scopes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<Scope>,
    /// Its rate tier; nothing: the default tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whose it is, in the host's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where it may be used from; empty: from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<AddressRange>,
    /// The modules it is assigned, for stores that keep them beside the key; the ledger
    /// `Unlicensed` reads them. Empty where the ledger keeps assignments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
    /// Grows with every [`KeyStore::update`]; an update of an older one is a conflict.
    #[serde(default)]
    pub revision: u64,
}

impl KeyRecord {
    /// A key that is enabled, never expires, and has no rights yet.
    pub fn new(
        id: KeyId,
        digest: KeyDigest,
        name: impl Into<String>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            digest,
            previous: None,
            hint: String::new(),
            name: name.into(),
            environment: Environment::live(),
            created_at,
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
            enabled: true,
            administrator: false,
            scopes: BTreeSet::new(),
            tier: None,
            owner: None,
            allowed_addresses: Vec::new(),
            modules: Vec::new(),
            revision: 0,
        }
    }
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeyQuery {
    /// Only those whose id comes after this one, in the order asked for.
    pub after: Option<KeyId>,
    /// At most this many.
    pub limit: usize,
    /// Only those whose name or hint contains this text, ASCII letters in either case.
    pub contains: Option<String>,
    /// The last id first.
    pub descending: bool,
}

impl KeyQuery {
    /// The first `limit` keys.
    pub fn first(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Only those whose id comes after this one, in the order asked for. By default it starts at the
    /// beginning.
    ///
    /// ```
    /// # use tower_api_key::{KeyId, KeyQuery};
    /// KeyQuery::first(100).with_after(Some(KeyId::new("k1")?));
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_after(mut self, after: Option<KeyId>) -> Self {
        self.after = after;
        self
    }

    /// Only those whose name or hint contains this text, as the last characters of a key do that was
    /// found somewhere. By default all.
    ///
    /// ```
    /// # use tower_api_key::KeyQuery;
    /// KeyQuery::first(100).with_contains(Some("studio".into()));
    /// ```
    #[must_use]
    pub fn with_contains(mut self, text: Option<String>) -> Self {
        self.contains = text;
        self
    }

    /// Whether the last id comes first: as those that a [`KeyManager`](crate::KeyManager) gives sort
    /// by creation, the newest key. By default not.
    ///
    /// ```
    /// # use tower_api_key::KeyQuery;
    /// KeyQuery::first(10).with_descending(true); // the ten newest
    /// ```
    #[must_use]
    pub fn with_descending(mut self, descending: bool) -> Self {
        self.descending = descending;
        self
    }

    /// Which of two ids comes first in the order asked for.
    pub fn compare(&self, one: &KeyId, other: &KeyId) -> Ordering {
        match self.descending {
            false => one.cmp(other),
            true => other.cmp(one),
        }
    }

    /// Whether a record is one of those asked for, the limit aside.
    pub fn matches(&self, record: &KeyRecord) -> bool {
        let contains = |wanted: &String| {
            let wanted = wanted.to_ascii_lowercase();
            let mut texts = [&record.name, &record.hint].into_iter();
            texts.any(|text| text.to_ascii_lowercase().contains(&wanted))
        };
        let is_after = |after: &KeyId| self.compare(after, &record.id).is_lt();
        self.after.as_ref().is_none_or(is_after) && self.contains.as_ref().is_none_or(contains)
    }
}

/// Keeps the keys.
///
/// # Contract
///
/// 1. [`find`](Self::find) answers the record whose `digest`, or whose `previous.digest`, is the one
///    asked for, whole and as last written; nothing where there is none. It does not judge: records
///    that are disabled, revoked or expired are answered too. [`get`](Self::get) answers the record
///    with the id asked for in the same way, ids compared byte by byte.
/// 2. [`insert`](Self::insert) keeps a new record, or says `DuplicateId` or `DuplicateDigest`; a
///    digest is taken while any record has it, as current or as previous one.
/// 3. [`update`](Self::update) replaces the record with the same id if its stored `revision` is the
///    one given, and answers the new one, whose `revision` is one higher; otherwise it says
///    `Conflict`, or `NotFound`, or `DuplicateDigest`. It leaves `last_used_at` as stored.
/// 4. [`delete`](Self::delete) removes a record and answers whether it was there.
/// 5. [`list`](Self::list) answers the records that [`KeyQuery::matches`], in order of the id's
///    bytes, or `descending` ([`KeyQuery::compare`]): those whose id comes after `after` in this
///    order, which no record needs to have, and whose name or hint has `contains` in it as plain
///    text, ASCII letters in either case. Of these it answers the first `limit`: none where that is
///    0, all where it is greater than their number.
/// 6. [`record_last_used`](Self::record_last_used) raises `last_used_at` to the instants given,
///    never lowers it, skips ids it does not know, and changes no `revision`.
/// 7. A call that returns an error changed nothing, of a batch neither. Where the connection was lost in the middle
///    of a change it may have taken place: the next read tells.
/// 8. Where [`changes`](Self::changes) is given, it is told before the call returns:
///    [`changed`](Changes::changed) with the id by `update` and `delete`,
///    [`added`](Changes::added) by `insert`, and by an `update` that brought a new digest.
/// 9. A store that cannot be written says `ReadOnly` to every writing call, an empty batch of
///    `record_last_used` or `record_usage` included.
/// 10. [`record_usage`](Self::record_usage) adds the counts given to those it has, also where a batch
///     has several of the same key, hour and outcome, and skips ids it does not know. Then it forgets
///     all hours before `forget_before`, also those of the batch, of every key. It changes no record.
/// 11. [`usage`](Self::usage) answers the counts of one key whose `hour` is `since` or later: each
///     outcome of an hour once, in order of the hour and then of the outcome's text. `update` leaves
///     them as they are; `delete` removes them with the record, so that a key that gets the same id
///     later begins without any.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The record with this digest.
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError>;

    /// The record with this id.
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError>;

    /// Keeps a new record.
    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError>;

    /// Replaces a record that nobody else has changed since it was read.
    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError>;

    /// Removes a record.
    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError>;

    /// The records asked for, in order of the id.
    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError>;

    /// Keeps when keys were last used.
    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError>;

    /// Adds to how often keys were used, and forgets what is older than `forget_before`.
    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError>;

    /// How often a key was used, since this hour.
    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError>;

    /// What changed, for the layers of this process; nothing where the store cannot tell: layers
    /// then remember its answers for their `cache_ttl` only.
    fn changes(&self) -> Option<&Changes>;
}

/// A shared store is a store, also behind `Arc<dyn KeyStore>`.
#[async_trait]
impl<T: KeyStore + ?Sized> KeyStore for Arc<T> {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, BackendError> {
        (**self).find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, BackendError> {
        (**self).get(id).await
    }

    async fn insert(&self, record: KeyRecord) -> Result<(), BackendError> {
        (**self).insert(record).await
    }

    async fn update(&self, record: KeyRecord) -> Result<KeyRecord, BackendError> {
        (**self).update(record).await
    }

    async fn delete(&self, id: &KeyId) -> Result<bool, BackendError> {
        (**self).delete(id).await
    }

    async fn list(&self, query: &KeyQuery) -> Result<Vec<KeyRecord>, BackendError> {
        (**self).list(query).await
    }

    async fn record_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), BackendError> {
        (**self).record_last_used(uses).await
    }

    async fn record_usage(
        &self,
        counts: &[UsageCount],
        forget_before: Timestamp,
    ) -> Result<(), BackendError> {
        (**self).record_usage(counts, forget_before).await
    }

    async fn usage(&self, id: &KeyId, since: Timestamp) -> Result<Vec<UsageCount>, BackendError> {
        (**self).usage(id, since).await
    }

    fn changes(&self) -> Option<&Changes> {
        (**self).changes()
    }
}
