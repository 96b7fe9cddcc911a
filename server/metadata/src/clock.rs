//! The one place where this room reads the time.
//!
//! Ages decide only whether something is kept longer: a moment in the future, from a clock that was set back, counts as new.

use std::time::SystemTime;

/// A moment in milliseconds since 1970 began (UTC), as it is stored.
pub type UnixMillis = u64;

/// This moment; 0 when the clock stands before 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
