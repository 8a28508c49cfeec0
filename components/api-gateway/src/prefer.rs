use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use query_service::Handling;

use crate::header::{elements, split, value};

pub(crate) static PREFER: HeaderName = HeaderName::from_static("prefer");
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a client prefers (RFC 7240). Unknown preferences, and values that make no sense, are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// Whole seconds.
    pub(crate) wait: Option<Duration>,
    pub(crate) handling: Option<Handling>,
}

impl Preferences {
    /// Of several of one name the first counts; waits are clipped to `wait_max`.
    pub(crate) fn of(headers: &HeaderMap, wait_max: Duration) -> Self {
        let mut preferences = Self::default();
        if !headers.contains_key(&PREFER) {
            return preferences;
        }
        for element in elements(headers, &PREFER) {
            let preference = split(element, ';').next().unwrap_or_default();
            let (name, word) = preference.split_once('=').unwrap_or((preference, ""));
            let word = word.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("wait") && preferences.wait.is_none() {
                preferences.wait = seconds(word).map(|wait| wait.min(wait_max));
            }
            if name.trim().eq_ignore_ascii_case("handling") && preferences.handling.is_none() {
                preferences.handling = match word {
                    "strict" => Some(Handling::Strict),
                    "lenient" => Some(Handling::Lenient),
                    _ => None,
                };
            }
        }
        preferences
    }

    /// Says which preferences were followed.
    pub(crate) fn write_applied(self, headers: &mut HeaderMap) {
        let handling = self.handling.map(|handling| match handling {
            Handling::Strict => "handling=strict",
            Handling::Lenient => "handling=lenient",
        });
        let applied = match (handling, self.wait) {
            (Some(handling), Some(wait)) => value::<64>(format_args!("{handling}, wait={}", wait.as_secs())),
            (Some(handling), None) => Some(HeaderValue::from_static(handling)),
            (None, Some(wait)) => value::<32>(format_args!("wait={}", wait.as_secs())),
            (None, None) => None,
        };
        if let Some(applied) = applied {
            headers.insert(PREFERENCE_APPLIED.clone(), applied);
        }
    }

    /// As [`Preferences::write_applied`], for answers that differ by nothing but preferences.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if self != Self::default() {
            self.write_applied(headers);
            headers.insert(header::VARY, HeaderValue::from_static("Prefer"));
        }
    }
}

fn seconds(word: &str) -> Option<Duration> {
    // A number too large for 64 bits is clipped like any other that is too large.
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(word.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn preferences_are_read_as_rfc_7240_has_them() {
        let seconds = |number| Some(Duration::from_secs(number));
        let (lenient, strict) = (Some(Handling::Lenient), Some(Handling::Strict));
        for (lines, wait, handling) in [
            (&["handling=lenient, wait=1"][..], seconds(1), lenient),
            (&["Wait=1", "Handling=\"strict\""], seconds(1), strict),
            (&["wait=99999999999999999999999"], seconds(30), None),
            (&["wait=3, wait=4"], seconds(3), None),
            (&["wait=-1, handling=loose"], None, None),
            (&["respond-async, foo=\"a,wait=9\"; bar, wait=2;x=y"], seconds(2), None),
            (&["wait, wait=soon"], None, None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER.clone(), HeaderValue::from_static(line));
            }
            let preferences = Preferences::of(&headers, Duration::from_secs(30));
            assert_eq!(preferences, Preferences { wait, handling }, "{lines:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_preferred_is_applied_within_the_limit_and_said_in_words_that_mean_the_same(
            lines in prop::collection::vec(
                prop_oneof![
                    "((wait|handling|respond-async|foo)(=\"?[a-z0-9]{0,4}\"?)?[,; ]{1,2}){0,4}",
                    "(handling=(strict|lenient)|wait=[0-9]{1,25}|, ){0,5}",
                ].prop_map(String::into_bytes).boxed().prop_union(prop::collection::vec(any::<u8>(), 0..30).boxed()),
                0..3,
            ),
        ) {
            let limit = Duration::from_secs(30);
            let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
            let headers: HeaderMap = values.map(|value| (PREFER.clone(), value)).collect();
            let preferences = Preferences::of(&headers, limit);
            prop_assert!(preferences.wait.is_none_or(|wait| wait <= limit), "{:?}", preferences);
            let mut answer = HeaderMap::new();
            preferences.write_applied(&mut answer);
            let applied = answer.remove(&PREFERENCE_APPLIED).map(|value| (PREFER.clone(), value));
            prop_assert_eq!(applied.is_some(), preferences != Preferences::default());
            prop_assert_eq!(Preferences::of(&applied.into_iter().collect(), limit), preferences);
        }
    }
}
