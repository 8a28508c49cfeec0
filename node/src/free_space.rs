//! How much space a file system has left: the one call to the system that the standard library does not have (ADR 8).
#![allow(unsafe_code, reason = "statvfs is a C function: it takes a pointer and fills what that points to")]

use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

/// Bytes that this process may still write to the file system that holds `path`. What is kept for root does not count.
///
/// # Errors
/// What the system says, for instance that there is no such path.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut answer = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with a zero byte and `answer` is as large as the type says; both live until the call returns, and
    // the system keeps neither.
    let code = unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a call that succeeded has filled every field; they are integers, for which any bytes are a value.
    let answer = unsafe { answer.assume_init() };
    #[allow(clippy::useless_conversion, reason = "on some systems these fields have 32 bits")]
    Ok(u64::from(answer.f_bavail).saturating_mul(u64::from(answer.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_free_space_and_what_is_not_there_has_none_to_tell() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(free_bytes(directory.path()).expect("it is there") > 0);
        let error = free_bytes(&directory.path().join("gone")).expect_err("it is not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
