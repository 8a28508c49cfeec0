use model::{ConsistencyToken, EpochId, Position, TokenError};
use proptest::prelude::*;
use uuid::Uuid;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_token_survives_its_text(epoch: u128, position in 1_u64..) {
        let token = ConsistencyToken {
            epoch: EpochId(Uuid::from_u128(epoch)),
            position: Position::new(position).expect("it is not zero"),
        };
        let text = token.to_string();
        prop_assert_eq!(text.parse::<ConsistencyToken>(), Ok(token));
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{}", text);
    }

    #[test]
    fn any_other_text_is_no_token_and_no_panic(text in ".{0,60}") {
        if let Ok(token) = text.parse::<ConsistencyToken>() {
            prop_assert_eq!(token.to_string(), text);
        }
    }
}

#[test]
fn texts_that_are_nearly_tokens_are_none() {
    let token = ConsistencyToken { epoch: EpochId(Uuid::from_u128(7)), position: Position::FIRST }.to_string();
    let zero = format!("{}A", &token[..token.len() - 1]);
    for text in
        ["", "v1.", &token[3..], &token.replace("v1.", "v2."), &token[..token.len() - 1], &format!("{token}="), &zero]
    {
        assert_eq!(text.parse::<ConsistencyToken>(), Err(TokenError), "{text}");
    }
}
