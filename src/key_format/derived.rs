//! Texts that are made of given bytes: who asks again gets the same one.

use std::convert::Infallible;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KeyFormat, KeyFormats, KeyText};
use crate::key_store::Environment;

impl KeyFormat {
    /// The key of 32 random bytes that nobody else has: always the same one.
    ///
    /// As many bytes as are needed come from HMAC-SHA-256 under these, in counter mode (NIST SP
    /// 800-108 §4.1).
    pub(super) fn text_from(&self, environment: &Environment, entropy: &[u8; 32]) -> KeyText {
        let mut blocks = 0_u32..;
        let fill = |bytes: &mut [u8]| {
            for (bytes, block) in bytes.chunks_mut(HMAC_BYTES).zip(&mut blocks) {
                let state = Hmac::<Sha256>::new_from_slice(entropy);
                let mac = state.expect("HMAC takes a key of any length");
                let block = mac.chain_update(block.to_be_bytes()).finalize();
                let block = Zeroizing::new(<[u8; HMAC_BYTES]>::from(block.into_bytes()));
                bytes.copy_from_slice(&block[..bytes.len()]);
            }
            Ok::<_, Infallible>(())
        };
        let Ok(text) = self.make(environment, fill);
        text
    }
}

impl KeyFormats {
    /// The key in the primary format that 32 random bytes make: always the same one.
    pub(crate) fn text_from(&self, environment: &Environment, entropy: &[u8; 32]) -> KeyText {
        self.primary.text_from(environment, entropy)
    }
}

/// The length of an HMAC-SHA-256.
const HMAC_BYTES: usize = 32;
