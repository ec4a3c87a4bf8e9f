use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn checked_key() -> String {
    let key = KeyFormats::default()
        .generate(&Environment::live())
        .unwrap();
    key.expose().to_owned()
}

fn with_checksum(checked: &str) -> String {
    let sum = checksum(checked.as_bytes());
    format!("{checked}{}", str::from_utf8(&sum).unwrap())
}

#[test]
fn checksum_is_the_crc_that_everyone_calls_crc_32() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    let value = checksum(b"123456789").iter().fold(0, |value, symbol| {
        value * 62 + BASE62.iter().position(|s| s == symbol).unwrap() as u64
    });
    assert_eq!(value, 0xCBF4_3926);
    assert_eq!(&checksum(b""), b"000000", "its width is fixed");
}

#[test]
fn format_is_what_other_languages_would_compute() {
    // Python: zlib.crc32(b"rk_live_000000000000000000000000000") in base62.
    let text = with_checksum("rk_live_000000000000000000000000000");
    assert_eq!(text, "rk_live_0000000000000000000000000000GJXbj");
    assert_eq!(
        KeyFormats::default().verdict(text.as_bytes()),
        Verdict::WellFormed
    );
}

#[test]
fn every_symbol_stands_for_equally_many_bytes() {
    for alphabet in [&BASE62[..], &HEX[..], b"abc"] {
        let mut bytes_of = HashMap::new();
        for symbol in (0..=u8::MAX).filter_map(|byte| symbol(alphabet, byte)) {
            *bytes_of.entry(symbol).or_insert(0) += 1;
        }
        assert_eq!(bytes_of.len(), alphabet.len());
        assert!(
            bytes_of
                .values()
                .all(|&bytes| bytes == 256 / alphabet.len()),
            "{bytes_of:?}"
        );
    }
}

#[test]
fn every_pair_of_symbols_comes_from_equally_many_pairs_of_bytes() {
    let mut times = HashMap::new();
    for (first, second) in (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| (a, b))) {
        let mut text = String::new();
        // Two bytes and no more: where one of them is thrown away there is no pair.
        let mut bytes = Some([first, second]);
        let complete: Result<(), ()> = push_random(&mut text, BASE62, 2, |buffer| {
            buffer.fill(u8::MAX);
            buffer[..2].copy_from_slice(&bytes.take().ok_or(())?);
            Ok(())
        });
        if complete.is_ok() {
            assert_eq!(text.len(), 2);
            *times.entry(text).or_insert(0) += 1;
        }
    }
    assert_eq!(times.len(), 62 * 62);
    assert!(times.values().all(|&times| times == 4 * 4));
}

#[test]
fn failing_generator_makes_no_key() {
    let mut text = String::new();
    let failed = push_random(&mut text, HEX, 4, |_| Err(getrandom::Error::UNSUPPORTED));
    assert!(failed.is_err() && text.is_empty());
    let error: &dyn std::error::Error = &GenerateError(getrandom::Error::UNSUPPORTED);
    assert!(error.source().is_some());
}

#[test]
fn generated_key_has_its_parts_and_its_length() {
    let live = checked_key();
    assert_eq!((&live[..8], live.len()), ("rk_live_", 41));
    let hex = KeyFormat::hex("rk")
        .unwrap()
        .generate(&Environment::test())
        .unwrap();
    let hex = hex.expose();
    assert_eq!((&hex[..8], hex.len()), ("rk_test_", 40));
    assert!(hex[8..].bytes().all(|byte| HEX.contains(&byte)));
}

#[test]
fn text_from_random_bytes_is_what_other_languages_would_compute() {
    // Python: hmac.new(entropy, block.to_bytes(4, "big"), hashlib.sha256), then as any other key.
    let formats = KeyFormats::default();
    let text = formats.text_from(&Environment::live(), &[7; 32]);
    assert_eq!(text.expose(), "rk_live_rOy30oHWs5ushap0eFBSkhXg9o30GANJU");
    let verdict = formats.verdict(text.expose().as_bytes());
    assert_eq!(verdict, Verdict::WellFormed);
    let hex = KeyFormat::hex("rk").unwrap();
    let text = hex.text_from(&Environment::test(), &[7; 32]);
    assert_eq!(text.expose(), "rk_test_f4cfee1e65409e1c29db689165c1c9ff");
}

#[test]
fn text_from_random_bytes_goes_on_where_too_many_of_the_first_are_thrown_away() {
    let mut entropy = [0; 32];
    entropy[30..].copy_from_slice(&815_u16.to_be_bytes());
    let text = KeyFormats::default().text_from(&Environment::live(), &entropy);
    assert_eq!(text.expose(), "rk_live_lzgLx6sxxqNIfsNC94c380Fm8eg4WY3Go");
}

#[test]
fn thousand_keys_are_a_thousand_different_keys() {
    let keys: HashSet<_> = (0..1_000).map(|_| checked_key()).collect();
    assert_eq!(keys.len(), 1_000);
}

#[test]
fn prefix_that_is_no_label_is_refused() {
    for prefix in ["", "Rk", "1k", "r_k", "r-k", "rké", "abcdefghijklmnopq"] {
        assert!(KeyFormat::checked(prefix).is_err(), "{prefix}");
        assert!(KeyFormat::hex(prefix).is_err(), "{prefix}");
    }
    for prefix in ["r", "k9", "abcdefghijklmnop"] {
        assert!(KeyFormat::checked(prefix).is_ok(), "{prefix}");
    }
}

#[test]
fn text_is_well_formed_if_any_accepted_format_has_it() {
    let formats = KeyFormats::default();
    let hex = "rk_live_0123456789abcdef0123456789abcdef";
    assert_eq!(formats.verdict(hex.as_bytes()), Verdict::WellFormed);
    assert_eq!(
        formats.verdict(checked_key().as_bytes()),
        Verdict::WellFormed
    );
    let other = with_checksum("acme_live_abcdefghijklmnopqrstuvwxyz0");
    assert_eq!(formats.verdict(other.as_bytes()), Verdict::Malformed);
    let both = formats.with_accepted(KeyFormat::checked("acme").unwrap());
    assert_eq!(both.verdict(other.as_bytes()), Verdict::WellFormed);
}

#[test]
fn broken_text_of_ours_is_malformed_even_where_opaque_ones_are_accepted() {
    let formats = KeyFormats::default().with_opaque(true);
    let good = checked_key();
    let upper_hex = "rk_live_0123456789ABCDEF0123456789ABCDEF".to_owned();
    let spaced = format!("{good} ");
    for text in [
        "rk_live_",
        "rk_x1_",
        "rk_live_abc",
        &good[..40],
        &spaced,
        &upper_hex,
    ] {
        assert_eq!(
            formats.verdict(text.as_bytes()),
            Verdict::Malformed,
            "{text}"
        );
    }
}

#[test]
fn body_with_another_character_is_malformed_whatever_its_checksum() {
    for body in ["00000000000000-000000000000", "00000000000000_000000000000"] {
        let text = with_checksum(&format!("rk_live_{body}"));
        assert_eq!(
            KeyFormats::default().verdict(text.as_bytes()),
            Verdict::Malformed,
            "{text}"
        );
    }
}

#[test]
fn text_that_does_not_begin_like_ours_is_opaque_where_that_is_accepted() {
    let texts: [&[u8]; 9] = [
        b"x",
        b"rk",
        b"rk_",
        b"rk_live",
        b"rk__x",
        b"rk_Live_x",
        b"RK_live_x",
        b"\xff\0",
        b"rk_abcdefghijklmnopq_x",
    ];
    let formats = KeyFormats::default();
    let opaque = formats.clone().with_opaque(true);
    for text in texts {
        assert_eq!(formats.verdict(text), Verdict::Malformed, "{text:?}");
        assert_eq!(opaque.verdict(text), Verdict::Opaque, "{text:?}");
    }
}

#[test]
fn empty_and_oversize_texts_are_malformed() {
    let formats = KeyFormats::default().with_opaque(true);
    assert_eq!(formats.verdict(b""), Verdict::Malformed);
    assert_eq!(formats.verdict(&[b'x'; 512]), Verdict::Opaque);
    assert_eq!(formats.verdict(&[b'x'; 513]), Verdict::Malformed);
}

#[test]
fn hint_shows_prefix_environment_and_the_last_four() {
    let formats = KeyFormats::default();
    assert_eq!(
        formats.hint("rk_live_0123456789abcdef0123456789abcdef"),
        "rk_live_…cdef"
    );
    let key = checked_key();
    assert_eq!(formats.hint(&key), format!("rk_live_…{}", &key[37..]));
}

#[test]
fn hint_of_an_opaque_text_shows_the_last_four_of_a_long_one_only() {
    let formats = KeyFormats::default().with_opaque(true);
    assert_eq!(formats.hint("0123456789abcdef"), "…cdef");
    assert_eq!(formats.hint("0123456789abcde"), "…");
    assert_eq!(
        formats.hint("ééééééééé"),
        "…",
        "characters count, not bytes"
    );
    assert_eq!(
        formats.hint("0123456789abcdefgh\u{202e}"),
        "…",
        "no control of the display"
    );
    assert_eq!(formats.hint("abc"), "…");
    assert_eq!(formats.hint(""), "…");
    assert_eq!(formats.hint("rk_live_broken0123456789"), "…");
    assert_eq!(
        KeyFormats::default().hint("0123456789abcdef"),
        "…",
        "it is not accepted"
    );
}

#[test]
fn debug_form_hides_the_text_and_drop_wipes_it() {
    fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
    let text = KeyText::new("canary");
    assert_eq!(format!("{text:?} {text:#?}"), "KeyText(…) KeyText(…)");
    wiped(&text.0);
}

#[test]
fn last_symbol_and_first_of_the_checksum_swapped_is_always_caught() {
    // Neighbours within the checked part are one burst of 16 bits, which CRC-32 always sees, and
    // a checksum has one spelling. Left is the swap of the last checked symbol `a` with the first
    // of the checksum `b`: it goes unseen only where the CRC, changed by `flip`, grows by just
    // what the new first symbol is worth: x ^ flip == x + growth. The bits of `flip` are then each
    // added or taken away, so the added ones, (flip + growth) / 2, are among the bits of `flip`.
    let value = |symbol: u8| BASE62.iter().position(|&s| s == symbol).unwrap() as i64;
    for a in *BASE62 {
        for b in *BASE62 {
            if a == b {
                continue;
            }
            let flip = i64::from(crc32fast::hash(&[a]) ^ crc32fast::hash(&[b]));
            let growth = (value(a) - value(b)) * 62_i64.pow(5);
            let added = (flip + growth) / 2;
            let unseen = (flip + growth) % 2 == 0 && added >= 0 && added & !flip == 0;
            assert!(!unseen, "{} {}", char::from(a), char::from(b));
        }
    }
}

fn any_label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,15}"
}

proptest! {
    #[test]
    fn generated_key_is_well_formed(prefix in any_label(), environment in any_label()) {
        let environment = Environment::new(environment).unwrap();
        for format in [KeyFormat::checked(&prefix).unwrap(), KeyFormat::hex(&prefix).unwrap()] {
            let formats = KeyFormats::new(format);
            let key = formats.generate(&environment).unwrap();
            prop_assert_eq!(formats.verdict(key.expose().as_bytes()), Verdict::WellFormed);
            let hint = formats.hint(key.expose());
            let lead = format!("{prefix}_{environment}_…");
            prop_assert!(hint.starts_with(&lead) && hint.len() == lead.len() + 4);
        }
    }

    #[test]
    fn wrong_character_is_caught(place in 0..41_usize, wrong: u8) {
        let mut key = checked_key().into_bytes();
        prop_assume!(key[place] != wrong);
        key[place] = wrong;
        prop_assert_eq!(KeyFormats::default().verdict(&key), Verdict::Malformed);
        if place >= 8 {
            let opaque = KeyFormats::default().with_opaque(true);
            prop_assert_eq!(opaque.verdict(&key), Verdict::Malformed);
        }
    }

    #[test]
    fn swapped_neighbours_are_caught(place in 0..40_usize) {
        let mut key = checked_key().into_bytes();
        prop_assume!(key[place] != key[place + 1]);
        key.swap(place, place + 1);
        prop_assert_eq!(KeyFormats::default().verdict(&key), Verdict::Malformed);
    }

    #[test]
    fn label_is_what_an_environment_is(text in "[a-zA-Z0-9_é-]{0,18}") {
        prop_assert_eq!(is_label(text.as_bytes()), Environment::new(&text).is_ok());
    }

    #[test]
    fn any_bytes_get_a_verdict(
        lead in prop::sample::select(vec!["", "rk", "rk_", "rk_live_", "rk_test_", "acme_live_"]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let text = [lead.as_bytes(), &rest].concat();
        let (strict, opaque) = (KeyFormats::default(), KeyFormats::default().with_opaque(true));
        prop_assert_eq!(strict.verdict(&text), Verdict::Malformed);
        let shaped = lead.ends_with("live_") && lead.starts_with("rk") || lead == "rk_test_";
        if shaped || text.is_empty() || text.len() > 512 {
            prop_assert_eq!(opaque.verdict(&text), Verdict::Malformed);
        } else if !lead.starts_with("rk_") {
            // With `rk_` in front, the random rest may complete the shape.
            prop_assert_eq!(opaque.verdict(&text), Verdict::Opaque);
        }
        let _ = opaque.hint(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn hint_shows_no_more_than_four_characters_of_the_secret(text in "\\PC{0,80}") {
        let hint = KeyFormats::default().with_opaque(true).hint(&text);
        prop_assert!(hint.starts_with('…') && hint.chars().count() <= 5);
    }
}
