//! Runs the domain's code on what may be damaged: a panic there is a finding, not an end.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of `work`, or its panic's message.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the domain's code panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
    })
}
