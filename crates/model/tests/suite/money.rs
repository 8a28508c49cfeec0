use model::Money;
use proptest::prelude::*;

fn money(thousandths: i64) -> Money<3> {
    let sign = if thousandths < 0 { "-" } else { "" };
    let digits = thousandths.unsigned_abs();
    format!("{sign}{}.{:03}", digits / 1000, digits % 1000).parse().expect("an amount")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_amount_survives_its_json(thousandths: i64) {
        let amount = money(thousandths);
        let text = serde_json::to_string(&amount).expect("it serialises");
        prop_assert_eq!(serde_json::from_str::<Money<3>>(&text).expect("it is an amount"), amount);
        prop_assert_eq!(text, format!("\"{amount}\""));
    }

    #[test]
    fn sums_differences_and_products_are_exact(one in -1_000_000_000_i64..1_000_000_000, other in -1_000_000_000_i64..1_000_000_000) {
        prop_assert_eq!(money(one) + money(other), money(one + other));
        prop_assert_eq!(money(one) - money(other), money(one - other));
        prop_assert_eq!(money(one) * (other / 1_000), money(one * (other / 1_000)));
        prop_assert_eq!(-money(one), money(-one));
        prop_assert_eq!(money(one) < money(other), one < other);
    }
}

#[test]
fn an_amount_is_printed_with_all_its_decimals() {
    for (text, printed) in [("4.5", "4.500"), ("0", "0.000"), ("-0", "0.000"), ("-0.000", "0.000"), ("7", "7.000")] {
        assert_eq!(text.parse::<Money<3>>().expect(text).to_string(), printed);
    }
    assert_eq!("7".parse::<Money<0>>().expect("a whole amount").to_string(), "7");
    assert_eq!((Money::<3>::ZERO).to_string(), "0.000");
}

#[test]
fn what_the_schema_refuses_is_no_amount() {
    for text in ["", " 1", "1 ", "+1", ".5", "5.", "1_000", "1,5", "1e3", "0.0001", "NaN", "--1", "1.2.3", "٣"] {
        assert!(text.parse::<Money<3>>().is_err(), "{text:?}");
    }
}

#[test]
fn json_numbers_are_no_amounts() {
    let reason = serde_json::from_str::<Money<3>>("4.5").expect_err("it came through a float").to_string();
    assert!(reason.contains("expected a string with a decimal number"), "{reason}");
}

#[test]
fn an_amount_that_does_not_fit_is_refused_and_never_rounded() {
    let largest: Money<3> = "79228162514264337593543950.335".parse().expect("the largest");
    assert!("79228162514264337593543950.336".parse::<Money<3>>().is_err());
    let cent = money(1);
    assert_eq!(largest.checked_add(cent), None);
    assert_eq!((-largest).checked_sub(cent), None);
    assert_eq!(largest.checked_mul(2), None);
    assert_eq!(largest.checked_sub(cent).and_then(|less| less.checked_add(cent)), Some(largest));
    for overflow in [|a, b| a + b, |a: Money<3>, b: Money<3>| -(-a - b), |a: Money<3>, _| a * 3] {
        assert!(std::panic::catch_unwind(|| overflow(largest, cent)).is_err(), "a wrong amount is worse than none");
    }
}
