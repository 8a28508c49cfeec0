use std::sync::Arc;

use http::{HeaderMap, HeaderName};

static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const MEMBERS_MAX: usize = 32;
/// As much as level 1 wants passed on: what is longer is dropped whole, since it would be stored with every event.
const BYTES_MAX: usize = 512;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// The list in `tracestate` (W3C trace context, level 1): its lines joined, without empty members and the blanks around
/// members. `None` where there is none, or where any of it is not as the standard has it.
///
/// A key that comes twice is left as it is: it means something to its own tracing system alone.
pub(crate) fn tracestate(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut lines = headers.get_all(&TRACESTATE).iter().peekable();
    lines.peek()?;
    let mut list = String::new();
    let mut members = 0;
    for line in lines {
        for member in line.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            members += 1;
            let separator = if members == 1 { "" } else { "," };
            if !is_member(member) || members > MEMBERS_MAX || list.len() + separator.len() + member.len() > BYTES_MAX {
                return None;
            }
            list.push_str(separator);
            list.push_str(member);
        }
    }
    (members > 0).then(|| list.into())
}

fn is_member(member: &str) -> bool {
    member.split_once('=').is_some_and(|(key, value)| is_key(key.as_bytes()) && is_value(value.as_bytes()))
}

/// `vendor`, or `tenant@vendor` where only the tenant may begin with a digit.
fn is_key(key: &[u8]) -> bool {
    let is_rest =
        |rest: &[u8]| rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    let is_name = |name: &[u8], bytes_max| {
        name.len() <= bytes_max
            && name.split_first().is_some_and(|(first, rest)| first.is_ascii_lowercase() && is_rest(rest))
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, KEY_BYTES_MAX),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let is_tenant = tenant.first().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
            is_tenant && tenant.len() <= 241 && is_rest(tenant) && is_name(vendor, 14)
        }
    }
}

/// Printable ASCII but for comma and equals sign, not ending in a blank.
fn is_value(value: &[u8]) -> bool {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    value.len() <= VALUE_BYTES_MAX && value.last().is_some_and(|last| *last != b' ') && value.iter().all(is_printable)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Option<String> {
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).expect("a header value"));
        let headers: HeaderMap = lines.map(|line| (TRACESTATE.clone(), line)).collect();
        tracestate(&headers).map(|list| list.to_string())
    }

    #[test]
    fn lines_are_joined_and_only_blanks_and_empty_members_are_lost() {
        for (lines, list) in [
            (&["rojo=00f067aa0ba902b7"][..], "rojo=00f067aa0ba902b7"),
            (&["rojo=1,congo=t61rcWkgMzE"], "rojo=1,congo=t61rcWkgMzE"),
            (&["rojo=1", "congo=2"], "rojo=1,congo=2"),
            (&["rojo=1 \t, \tcongo=2,", "", ",a=3"], "rojo=1,congo=2,a=3"),
            (&["a=1,a=2"], "a=1,a=2"),
            (&["a= 1"], "a= 1"),
            (&["0_-*/@v_-*/0=!\"~", "z=:;<>?"], "0_-*/@v_-*/0=!\"~,z=:;<>?"),
        ] {
            assert_eq!(read(lines).as_deref(), Some(list), "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_as_level_1_has_it_is_dropped_whole() {
        for wrong in [
            "",
            " , ",
            "rojo",
            "=1",
            "rojo=",
            "rojo=1=2",
            "rojo =1",
            "Rojo=1",
            "1rojo=1",
            "ro.jo=1",
            "@v=1",
            "t@=1",
            "t@1v=1",
            "t@v@w=1",
            "t@abcdefghijklmno=1",
            "rojo=\u{e9}",
            "rojo=a\tb",
        ] {
            assert_eq!(read(&[wrong]), None, "{wrong:?}");
            assert_eq!(
                read(&["congo=1", &format!("a=1,{wrong}")]).is_some(),
                wrong.trim_matches([' ', ',']).is_empty()
            );
        }
    }

    #[test]
    fn members_keys_values_and_the_whole_have_a_limit() {
        let of_length = |character: &str, length: usize| character.repeat(length);
        let members = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        let values = |last: usize| format!("a={},b={}", of_length("v", 250), of_length("v", last));
        for (list, taken) in [
            (members(32), true),
            (members(33), false),
            (format!("{}=v", of_length("k", 256)), true),
            (format!("{}=v", of_length("k", 257)), false),
            (format!("{}@{}=v", of_length("k", 241), of_length("k", 14)), true),
            (format!("{}@v=v", of_length("k", 242)), false),
            (format!("k={}", of_length("v", 256)), true),
            (format!("k={}", of_length("v", 257)), false),
            // 253 bytes, a comma, and 2 before the value.
            (values(512 - 255), false),
            (values(256), true),
        ] {
            assert_eq!(read(&[&list]).is_some(), taken, "{} bytes: {list}", list.len());
        }
        let (half, rest) = (format!("a={}", of_length("v", 250)), format!("b={}", of_length("v", 256)));
        assert_eq!(read(&[&half, &rest]).map(|list| list.len()), Some(511));
        assert_eq!(read(&[&half, &rest, "c=1"]), None, "515 bytes");
    }

    fn members() -> impl Strategy<Value = String> {
        let keys = "[a-z][a-z0-9_*/-]{0,20}|[a-z0-9][a-z0-9_*/-]{0,20}@[a-z][a-z0-9_*/-]{0,13}";
        let values = "[ -+.-<>-~--]{0,20}[!-+.-<>-~--]";
        (keys, values).prop_map(|(key, value)| format!("{key}={value}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_list_comes_out_as_it_went_in_however_it_is_cut_into_lines(
            members in prop::collection::vec(members(), 1..12), ends: [bool; 12],
        ) {
            let mut lines = vec![String::new()];
            for (member, ends) in members.iter().zip(ends) {
                let line = lines.last_mut().expect("there is one");
                line.push_str(member);
                line.push_str(", ");
                if ends {
                    lines.push(String::new());
                }
            }
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let whole = members.join(",");
            let expected = (whole.len() <= 512).then_some(whole);
            prop_assert_eq!(read(&lines), expected);
        }

        #[test]
        fn a_list_that_is_taken_prints_back_to_itself_and_is_small(
            values in prop::collection::vec(
                prop_oneof![
                    "([a-z@=, \t]|[a-z]=[!-~]){0,40}".prop_map(String::into_bytes),
                    "([a-z]{1,3}=[!-+.-<>-~]{1,8},[ \t]?){0,25}".prop_map(String::into_bytes),
                    "([a-z]=[!-+.-<>-~]{60,120},){0,6}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..100),
                ],
                0..4,
            ),
        ) {
            let values = values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok());
            let headers: HeaderMap = values.map(|value| (TRACESTATE.clone(), value)).collect();
            if let Some(list) = tracestate(&headers) {
                prop_assert!(list.len() <= 512 && list.split(',').count() <= 32, "{list}");
                prop_assert!(!list.contains(",,") && !list.contains(", "), "{list}");
                prop_assert_eq!(read(&[&list]), Some(list.to_string()));
            }
        }
    }
}
