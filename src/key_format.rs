//! What a key's text looks like: generation, checksum, display hint, and the digest that is stored.
//!
//! There are two built-in formats, both `PREFIX_ENV_BODY`, where `ENV` is an [`Environment`]:
//!
//! 1. [`KeyFormat::checked`]: the body is 27 random base62 characters (160.7 bits) and a checksum
//!    of six, so that a mistyped or made-up key is refused before any store is asked.
//! 2. [`KeyFormat::hex`]: the body is 32 lower-case hex digits (128 random bits), no checksum.
//!
//! [`KeyFormats`] is the set that a service accepts; [`KeyHasher`] turns a text into what is stored.

#[cfg(any(feature = "manage", test))]
mod derived;
mod key_hasher;

use std::{fmt, sync::Arc};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{key_store::Environment, name::InvalidName};

pub use key_hasher::KeyHasher;

/// The text of a key: the secret itself.
///
/// It is shown to its owner once and stored nowhere. Its memory is wiped when it is dropped, its
/// `Debug` form hides it, and it has neither `Display` nor `Serialize`: who wants the text says
/// [`expose`](Self::expose).
///
/// ```
/// use tower_api_key::KeyText;
/// let text = KeyText::new("rk_live_0123456789abcdef0123456789abcdef");
/// assert_eq!(format!("{text:?}"), "KeyText(…)");
/// assert!(text.expose().starts_with("rk_live_"));
/// ```
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// A text from elsewhere, for example one to import.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for KeyText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

/// The operating system's random generator failed, so no key was made.
#[derive(Debug, Clone, Error)]
#[error("the operating system's random generator failed")]
pub struct GenerateError(#[source] getrandom::Error);

/// One form of a key's text.
///
/// ```
/// use tower_api_key::{Environment, KeyFormat};
/// let key = KeyFormat::checked("acme")?.generate(&Environment::test())?;
/// assert!(key.expose().starts_with("acme_test_"));
/// assert_eq!(key.expose().len(), "acme_test_".len() + 33);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeyFormat {
    prefix: Arc<str>,
    body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Checked,
    Hex,
}

impl KeyFormat {
    /// `PREFIX_ENV_` and 27 random base62 characters, which are 160.7 bits, and the CRC-32 of
    /// everything before it as six base62 characters.
    ///
    /// The checksum catches every wrong character and every two neighbours swapped, and all but one
    /// in four billion of other mistakes. It is no secret and proves nothing to an attacker.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where the prefix is not 1 to 16 lower-case letters and digits, starting
    /// with a letter.
    pub fn checked(prefix: impl AsRef<str>) -> Result<Self, InvalidName> {
        Self::new(prefix.as_ref(), Body::Checked)
    }

    /// `PREFIX_ENV_` and 32 lower-case hex digits, which are 128 random bits, without a checksum.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where the prefix is not 1 to 16 lower-case letters and digits, starting
    /// with a letter.
    pub fn hex(prefix: impl AsRef<str>) -> Result<Self, InvalidName> {
        Self::new(prefix.as_ref(), Body::Hex)
    }

    fn new(prefix: &str, body: Body) -> Result<Self, InvalidName> {
        if !is_label(prefix.as_bytes()) {
            let rule = "1 to 16 lower-case letters and digits, starting with a letter";
            return Err(InvalidName::new("key prefix", prefix, rule));
        }
        let prefix = prefix.into();
        Ok(Self { prefix, body })
    }

    /// Makes a new key from the operating system's random generator.
    ///
    /// Every body is as likely as any other: a random byte that would favour some symbols is thrown
    /// away.
    ///
    /// # Errors
    ///
    /// [`GenerateError`] where the generator failed.
    pub fn generate(&self, environment: &Environment) -> Result<KeyText, GenerateError> {
        self.make(environment, getrandom::fill)
            .map_err(GenerateError)
    }

    fn make<E>(
        &self,
        environment: &Environment,
        fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<KeyText, E> {
        let environment = environment.as_str();
        let lead = self.prefix.len() + 1 + environment.len() + 1;
        // The room for the longest body up front: growing would leave copies of the text behind.
        let room = lead + HEX_DIGITS.max(RANDOM_SYMBOLS + CHECKSUM_SYMBOLS);
        let mut text = Zeroizing::new(String::with_capacity(room));
        for part in [&self.prefix, "_", environment, "_"] {
            text.push_str(part);
        }
        let (alphabet, count) = match self.body {
            Body::Checked => (&BASE62[..], RANDOM_SYMBOLS),
            Body::Hex => (&HEX[..], HEX_DIGITS),
        };
        push_random(&mut text, alphabet, count, fill)?;
        if self.body == Body::Checked {
            let checksum = checksum(text.as_bytes());
            text.extend(checksum.map(char::from));
        }
        Ok(KeyText(text))
    }

    /// What follows `PREFIX_ENV_` in a text that begins like that, with any environment.
    fn body<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let rest = text.strip_prefix(self.prefix.as_bytes())?;
        let rest = rest.strip_prefix(b"_")?;
        let end = rest
            .iter()
            .take(LONGEST_LABEL + 1)
            .position(|&byte| byte == b'_')?;
        is_label(&rest[..end]).then(|| &rest[end + 1..])
    }

    /// Whether `body`, the end of `text`, is as this format has it.
    fn accepts(&self, text: &[u8], body: &[u8]) -> bool {
        match self.body {
            Body::Checked => {
                body.len() == RANDOM_SYMBOLS + CHECKSUM_SYMBOLS
                    && all(body, |byte| byte.is_ascii_alphanumeric())
                    && text
                        .split_last_chunk()
                        .is_some_and(|(checked, sum)| checksum(checked) == *sum)
            }
            Body::Hex => {
                body.len() == HEX_DIGITS
                    && all(body, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        }
    }
}

/// The key texts that a service accepts, and the format of those it makes.
///
/// By default it makes [`KeyFormat::checked`] with the prefix `rk`, accepts [`KeyFormat::hex`]
/// with the same prefix beside it, and refuses everything else.
///
/// ```
/// use tower_api_key::{Environment, KeyFormat, KeyFormats};
/// let formats = KeyFormats::new(KeyFormat::checked("acme")?)
///     .with_accepted(KeyFormat::hex("old")?)
///     .with_opaque(true);
/// let key = formats.generate(&Environment::live())?;
/// let (start, end) = ("acme_live_", &key.expose()[39..]);
/// assert_eq!(formats.hint(key.expose()), format!("{start}…{end}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct KeyFormats {
    primary: KeyFormat,
    accepted: Vec<KeyFormat>,
    opaque: bool,
}

impl KeyFormats {
    /// Makes and accepts keys in this format.
    pub fn new(primary: KeyFormat) -> Self {
        Self {
            primary,
            accepted: Vec::new(),
            opaque: false,
        }
    }

    /// Accepts keys in this format too. By default only the primary format is accepted.
    ///
    /// ```
    /// # use tower_api_key::{KeyFormat, KeyFormats};
    /// KeyFormats::new(KeyFormat::checked("rk")?).with_accepted(KeyFormat::hex("rk")?);
    /// # Ok::<(), tower_api_key::InvalidName>(())
    /// ```
    #[must_use]
    pub fn with_accepted(mut self, format: KeyFormat) -> Self {
        self.accepted.push(format);
        self
    }

    /// Whether texts that look like none of the formats are accepted, such as keys imported from
    /// another system. By default they are refused.
    ///
    /// A made-up text can then no longer be told from a key without asking the store; one that
    /// begins like ours and is broken is refused all the same.
    ///
    /// ```
    /// # use tower_api_key::KeyFormats;
    /// KeyFormats::default().with_opaque(true);
    /// ```
    #[must_use]
    pub fn with_opaque(mut self, opaque: bool) -> Self {
        self.opaque = opaque;
        self
    }

    /// Makes a new key in the primary format.
    ///
    /// # Errors
    ///
    /// [`GenerateError`] where the operating system's random generator failed.
    pub fn generate(&self, environment: &Environment) -> Result<KeyText, GenerateError> {
        self.primary.generate(environment)
    }

    /// What people may see of a text: prefix, environment and the last four characters, as in
    /// `rk_live_…a1B2`.
    ///
    /// Of an opaque text it is the last four only, and not even those where it has fewer than 16
    /// characters or they are not visible ASCII; of a text that is not accepted it is `…`.
    pub fn hint(&self, text: &str) -> String {
        let ending = || text.get(text.len() - 4..).unwrap_or_default();
        match self.verdict(text.as_bytes()) {
            Verdict::WellFormed => {
                // No body has an underscore in it, so the last one ends `PREFIX_ENV_`.
                let lead = text.rfind('_').map_or(0, |underscore| underscore + 1);
                format!("{}…{}", &text[..lead], ending())
            }
            Verdict::Opaque
                if text.chars().count() >= 16
                    && ending().bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                format!("…{}", ending())
            }
            _ => "…".into(),
        }
    }

    /// Whether a text begins like a key of one of the formats, well-formed or not.
    pub(crate) fn claims(&self, text: &[u8]) -> bool {
        let mut formats = std::iter::once(&self.primary).chain(&self.accepted);
        formats.any(|format| format.body(text).is_some())
    }

    /// Whether a store should be asked for this text at all.
    pub(crate) fn verdict(&self, text: &[u8]) -> Verdict {
        if text.is_empty() || text.len() > LONGEST_KEY {
            return Verdict::Malformed;
        }
        let mut ours = false;
        for format in std::iter::once(&self.primary).chain(&self.accepted) {
            if let Some(body) = format.body(text) {
                if format.accepts(text, body) {
                    return Verdict::WellFormed;
                }
                ours = true;
            }
        }
        if ours || !self.opaque {
            Verdict::Malformed
        } else {
            Verdict::Opaque
        }
    }
}

impl Default for KeyFormats {
    fn default() -> Self {
        let format = |body| KeyFormat {
            prefix: "rk".into(),
            body,
        };
        Self::new(format(Body::Checked)).with_accepted(format(Body::Hex))
    }
}

/// What can be said of a text before any store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has one of the accepted formats.
    WellFormed,
    /// It has none of them, and such texts are accepted.
    Opaque,
    /// It is no key of this service.
    Malformed,
}

/// Whether this is a prefix or an [`Environment`]: a lower-case letter, then lower-case letters
/// and digits, at most 16 in all.
fn is_label(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST_LABEL
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether all bytes fit, looked at without an early exit, so that many are looked at at a time.
fn all(bytes: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & fits(byte))
}

/// Appends `count` symbols of `alphabet`, each as likely as any other.
fn push_random<E>(
    text: &mut String,
    alphabet: &[u8],
    mut count: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Zeroizing::new([0; 32]);
    while count > 0 {
        fill(&mut *bytes)?;
        for symbol in bytes
            .iter()
            .filter_map(|&byte| symbol(alphabet, byte))
            .take(count)
        {
            text.push(symbol);
            count -= 1;
        }
    }
    Ok(())
}

/// The symbol that a random byte stands for: none for the last bytes, which have no full round
/// through the alphabet.
fn symbol(alphabet: &[u8], byte: u8) -> Option<char> {
    let rounds = 256 / alphabet.len() * alphabet.len();
    let byte = usize::from(byte);
    (byte < rounds).then(|| char::from(alphabet[byte % alphabet.len()]))
}

/// The CRC-32 (ISO-HDLC, as in zip) of `checked` in base62, most significant symbol first.
fn checksum(checked: &[u8]) -> [u8; CHECKSUM_SYMBOLS] {
    let mut rest = crc32fast::hash(checked);
    let mut symbols = [0; CHECKSUM_SYMBOLS];
    for place in symbols.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    symbols
}

/// The longest text that is looked at, in bytes.
pub(crate) const LONGEST_KEY: usize = 512;
const LONGEST_LABEL: usize = 16;
/// 62^27 is more than 2^160.
const RANDOM_SYMBOLS: usize = 27;
/// 62^6 is more than 2^32.
const CHECKSUM_SYMBOLS: usize = 6;
const HEX_DIGITS: usize = 32;
const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests;
