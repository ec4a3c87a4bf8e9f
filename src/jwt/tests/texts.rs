//! Texts that are almost those of a token: other signatures, other base64, too much of it.

use super::support::*;
use crate::{jwt::Algorithm, token::LONGEST_TOKEN};

#[test]
fn every_bit_and_byte_of_a_signature_counts() {
    let verifier = verifier();
    for (algorithm, _) in KINDS {
        let token = token(algorithm, &header(algorithm), CLAIMS);
        taken(&verifier, &token);
        let (message, _) = token.rsplit_once('.').unwrap();
        let right = signature(algorithm, &private(algorithm), message);
        let with = |signature: &[u8]| format!("{message}.{}", base64(signature));
        taken(&verifier, &with(&right));
        for bit in 0..right.len() * 8 {
            let mut flipped = right.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            invalid(&verifier, with(&flipped), "a flipped bit");
        }
        for length in 0..right.len() {
            invalid(&verifier, with(&right[..length]), "a truncated signature");
        }
        for more in [&[0][..], &[0; 64], &right] {
            invalid(
                &verifier,
                with(&[&right, more].concat()),
                "a longer signature",
            );
            invalid(
                &verifier,
                with(&[more, &right].concat()),
                "a longer signature",
            );
        }
        for byte in [0, 1, 0x7f, 0xff] {
            invalid(
                &verifier,
                with(&vec![byte; right.len()]),
                "a signature of nothing",
            );
        }
    }
}

/// CVE-2022-21449 and its like: R and S of zero or of the curve's order; ASN.1 instead of the two
/// numbers; the other S that ASN.1-minded verifiers take is right, and nobody gains by it.
#[test]
fn signatures_of_curves_are_two_numbers_within_bounds() {
    let verifier = verifier();
    let order = *b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
    let token = token(Algorithm::Es256, &header(Algorithm::Es256), CLAIMS);
    let (message, _) = token.rsplit_once('.').unwrap();
    let right = signature(Algorithm::Es256, &private(Algorithm::Es256), message);
    let (r, s) = right.split_at(32);
    let mut one = [0; 32];
    one[31] = 1;
    let pairs = [
        [&[0; 32], s],
        [r, &[0; 32]],
        [&[0; 32], &[0; 32]],
        [&order, s],
        [r, &order],
        [&order, &order],
        [&one, &one],
        [s, r],
    ];
    for pair in pairs {
        invalid(
            &verifier,
            format!("{message}.{}", base64(pair.concat())),
            "out of bounds",
        );
    }
    // SEQUENCE { INTEGER r, INTEGER s }, both with a zero in front so that they are positive.
    let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    invalid(&verifier, format!("{message}.{}", base64(der)), "ASN.1");
    taken(&verifier, &token);
}

#[test]
fn each_token_has_one_text() {
    let verifier = verifier();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, claims) = (base64(header(Algorithm::EdDsa)), base64(CLAIMS));
    let key = private(Algorithm::EdDsa);
    let spoilt = |part: &str| {
        let mut spoilt = vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}\n"),
            format!(" {part}"),
            format!("{part}%3D"),
            format!("{}\t{}", &part[..4], &part[4..]),
        ];
        // Unused bits that are not zero: another text of the same bytes.
        let last = *part.as_bytes().last().unwrap();
        let index = alphabet.iter().position(|&byte| byte == last).unwrap();
        if !part.len().is_multiple_of(4) {
            let other = char::from(alphabet[index | 1]);
            spoilt.push(format!("{}{other}", &part[..part.len() - 1]));
        }
        spoilt
    };
    // Signed as they stand: only the base64 is wrong.
    let padded = |json: &str| {
        // So that its base64 has unused bits.
        let missing = (4 - json.len() % 3) % 3;
        base64(format!("{json}{}", " ".repeat(missing)))
    };
    assert_ne!(padded(CLAIMS).len() % 4, 0);
    for part in spoilt(&padded(&header(Algorithm::EdDsa))) {
        invalid(
            &verifier,
            signed(Algorithm::EdDsa, &key, &part, &claims),
            &part,
        );
    }
    for part in spoilt(&padded(CLAIMS)) {
        invalid(
            &verifier,
            signed(Algorithm::EdDsa, &key, &head, &part),
            &part,
        );
    }
    taken(
        &verifier,
        &signed(
            Algorithm::EdDsa,
            &key,
            &padded(&header(Algorithm::EdDsa)),
            &padded(CLAIMS),
        ),
    );
    let right = signed(Algorithm::EdDsa, &key, &head, &claims);
    let (message, signature) = right.rsplit_once('.').unwrap();
    for signature in spoilt(signature) {
        invalid(&verifier, format!("{message}.{signature}"), &signature);
    }
    // The other alphabet, on a signature that has one of the two characters.
    let mut seen = 0;
    for number in 0..40 {
        let right = saying(&with_claim("n", Some(&number.to_string())));
        let (message, signature) = right.rsplit_once('.').unwrap();
        let other = signature.replace('-', "+").replace('_', "/");
        if other != signature {
            seen += 1;
            invalid(
                &verifier,
                format!("{message}.{other}"),
                "the other alphabet",
            );
        }
    }
    assert!(seen > 20, "most signatures have one");
    for text in [
        format!("{right}."),
        format!(".{right}"),
        message.to_owned(),
        format!("{right}.AA"),
        right.replace('.', ".."),
        format!("Bearer {right}"),
    ] {
        invalid(&verifier, &text, &text);
    }
}

#[test]
fn long_tokens_are_refused_unread() {
    let verifier = verifier();
    let with_filler =
        |length: usize| saying(&with_claim("x", Some(&format!("{:?}", "x".repeat(length)))));
    let overhead = with_filler(0).len();
    // Base64 takes four bytes for three.
    let fitting = with_filler((LONGEST_TOKEN - overhead) / 4 * 3 - 3);
    assert!((LONGEST_TOKEN - 16..=LONGEST_TOKEN).contains(&fitting.len()));
    taken(&verifier, &fitting);
    invalid(
        &verifier,
        with_filler((LONGEST_TOKEN - overhead) / 4 * 3 + 9),
        "a little over",
    );
    invalid(&verifier, with_filler(1_000_000), "a megabyte");
    for text in [
        "e".repeat(1_000_000),
        ".".repeat(1_000_000),
        format!("ey{}", "..".repeat(500_000)),
        format!("{}..", "eyJh".repeat(250_000)),
    ] {
        invalid(&verifier, &text, "a megabyte of nothing");
    }
}
