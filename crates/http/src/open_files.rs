//! How many files the process may have open: every connection is one, and so is every blob in use.
//!
//! The usual soft limit is 1024, kept low for programs that call `select`; it is below what one listener allows its clients, so
//! a thousand idle connections to one port would close all of them to everybody. The hard limit is the administrator's and is
//! not touched.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. For `main`, before anything is opened. Returns how many files may be open.
///
/// # Errors
/// What the system says; the limit is then as before.
pub fn raise_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_used_in_full() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Enough for the tests that run beside this one.
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
        assert_eq!(raise_limit().unwrap(), hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
