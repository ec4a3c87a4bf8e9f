//! A hash for short texts such as paths and segments.

use std::hash::{BuildHasher, Hasher};

/// Hashes the keys of maps whose keys were declared at set-up.
///
/// Clients choose what is looked up and never what is stored, so no flood of chosen texts can
/// lengthen a look-up, and the hash need not be secret.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TextHash;

impl BuildHasher for TextHash {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher(0)
    }
}

/// Takes in eight bytes by one multiplication.
pub(super) struct TextHasher(u64);

impl TextHasher {
    fn take(&mut self, word: u64) {
        // An odd constant without a pattern in its bits: those of the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.take(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let word = rest
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.take(word);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.take(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // A product's upper bits are its best; the table takes its index from the lower ones.
        self.0.rotate_left(26)
    }
}
