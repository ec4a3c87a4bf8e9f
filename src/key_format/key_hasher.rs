//! What is stored of a key's text.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{key_store::KeyDigest, name::InvalidName};

/// Turns a key's text into the digest that is stored and looked up.
///
/// A key has at least 128 random bits, so one round of SHA-256 is enough: nobody can guess the
/// text from its digest. With a pepper kept outside the database, a stolen database does not
/// even allow checking a guess.
///
/// ```
/// use tower_api_key::KeyHasher;
/// let plain = KeyHasher::sha256();
/// let peppered = KeyHasher::hmac_sha256(b"thirty-two bytes or more, please")?;
/// assert_ne!(plain.digest(b"rk_live_1"), peppered.digest(b"rk_live_1"));
/// # Ok::<(), tower_api_key::InvalidName>(())
/// ```
#[derive(Clone, Default)]
pub struct KeyHasher(Function);

#[derive(Clone, Default)]
enum Function {
    #[default]
    Sha256,
    /// The states after the pepper's own two blocks, wiped on drop; the pepper itself is not kept.
    HmacSha256(Hmac<Sha256>),
}

impl KeyHasher {
    /// SHA-256 (FIPS 180-4), the default.
    pub fn sha256() -> Self {
        Self::default()
    }

    /// HMAC-SHA-256 (RFC 2104) under a pepper, a secret of the service of at least 32 bytes.
    ///
    /// Whoever loses or changes the pepper loses all keys with it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] where the pepper has fewer than 32 bytes (RFC 2104 §3 discourages keys
    /// shorter than the digest).
    pub fn hmac_sha256(pepper: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        let pepper = pepper.as_ref();
        if pepper.len() < SHORTEST_PEPPER {
            return Err(InvalidName::new("pepper", "…", "at least 32 bytes"));
        }
        Ok(Self::under(pepper))
    }

    fn under(pepper: &[u8]) -> Self {
        let state = Hmac::new_from_slice(pepper).expect("HMAC takes a key of any length");
        Self(Function::HmacSha256(state))
    }

    /// The digest of a text.
    pub fn digest(&self, text: &[u8]) -> KeyDigest {
        let bytes: [u8; 32] = match &self.0 {
            Function::Sha256 => Sha256::digest(text).into(),
            Function::HmacSha256(state) => state
                .clone()
                .chain_update(text)
                .finalize()
                .into_bytes()
                .into(),
        };
        KeyDigest::from_bytes(bytes)
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Function::Sha256 => "KeyHasher(SHA-256)",
            Function::HmacSha256(_) => "KeyHasher(HMAC-SHA-256, …)",
        })
    }
}

const SHORTEST_PEPPER: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_answers_the_examples_of_fips_180() {
        let hasher = KeyHasher::sha256();
        let examples = [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (text, digest) in examples {
            assert_eq!(hasher.digest(text.as_bytes()).to_string(), digest);
        }
    }

    #[test]
    fn hmac_sha256_answers_the_examples_of_rfc_4231() {
        let count: Vec<u8> = (1..=25).collect();
        let examples: [(&[u8], &[u8], &str); 6] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            &count,
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &[0xaa; 131],
            b"This is a test using a larger than block-size key and a larger than block-size data. \
              The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
        for (pepper, text, digest) in examples {
            let hasher = KeyHasher::under(pepper);
            assert_eq!(hasher.digest(text).to_string(), digest);
            assert_eq!(
                hasher.clone().digest(text).to_string(),
                digest,
                "a digest changes no state"
            );
        }
    }

    #[test]
    fn pepper_of_32_bytes_is_taken_and_a_shorter_one_refused() {
        assert!(KeyHasher::hmac_sha256([7; 32]).is_ok());
        let error = KeyHasher::hmac_sha256(b"hunter2hunter2hunter2hunter2hun").unwrap_err();
        assert!(error.to_string().contains("at least 32 bytes"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn debug_forms_hide_the_pepper() {
        let canary = "canary-canary-canary-canary-canary";
        let shown = format!("{:?}", KeyHasher::hmac_sha256(canary).unwrap());
        assert_eq!(shown, "KeyHasher(HMAC-SHA-256, …)");
        assert_eq!(format!("{:?}", KeyHasher::sha256()), "KeyHasher(SHA-256)");
    }

    #[test]
    fn states_are_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        // HMAC's two states are of the first type. Both are wiped while the feature `zeroize` is on.
        wiped::<sha2::block_api::Sha256VarCore>();
        wiped::<Sha256>();
    }
}
