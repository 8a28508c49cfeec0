use model::{Key, KeyError, canonical_key};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stored_key_is_its_own_canonical_form(first in ".{1,10}", second in ".{1,10}") {
        let encoded = (first, second).encoded()?;
        prop_assert!(encoded.is_ascii());
        prop_assert_eq!(canonical_key(&encoded)?, encoded.as_str());
    }

    #[test]
    fn different_keys_are_stored_differently(one in ("[ab/%]{1,4}", "[ab/%]{1,4}"), other in ("[ab/%]{1,4}", "[ab/%]{1,4}")) {
        prop_assert_eq!(one == other, one.encoded()? == other.encoded()?);
    }
}

#[test]
fn parts_are_percent_encoded_and_joined_by_a_slash() {
    let key = ("a/b".to_owned(), ("é".to_owned(), "x-y_z.~".to_owned()));
    assert_eq!(key.encoded().as_deref(), Ok("a%2Fb/%C3%A9/x-y_z.~"));
}

#[test]
fn a_path_may_encode_more_or_less_than_is_stored() {
    for path in ["BANK%20CHARGES", "BANK CHARGES", "%42ANK%20CHARGES"] {
        assert_eq!(canonical_key(path).as_deref(), Ok("BANK%20CHARGES"), "{path}");
    }
    assert_eq!(canonical_key("caf%c3%a9").as_deref(), Ok("caf%C3%A9"));
}

#[test]
fn a_key_has_no_empty_part_and_is_text() {
    assert_eq!(String::new().encoded(), Err(KeyError::Empty));
    assert_eq!(("a".to_owned(), String::new()).encoded(), Err(KeyError::Empty));
    for path in ["", "a/", "/a", "a//b"] {
        assert_eq!(canonical_key(path), Err(KeyError::Empty), "{path:?}");
    }
    assert_eq!(canonical_key("%ff"), Err(KeyError::NotText));
}

#[test]
fn a_key_has_at_most_256_bytes_when_it_is_encoded() {
    assert!("x".repeat(256).encoded().is_ok());
    assert_eq!("x".repeat(257).encoded(), Err(KeyError::TooLong { bytes: 257, limit: 256 }));
    assert_eq!("é".repeat(43).encoded(), Err(KeyError::TooLong { bytes: 258, limit: 256 }));
    assert!(canonical_key(&"x".repeat(257)).is_err());
}
