//! Limits that several parts share.

use jiff::SignedDuration;

/// How many times a target that was scaled up is scaled down again before the reset gives up.
pub const MAX_REHOLDS: i32 = 3;

/// How long it is tried again to do what the API server has not allowed, while consumers may be held:
/// one that has just started knows all rights within a second or two.
pub const NOT_ALLOWED: SignedDuration = SignedDuration::from_secs(5);

/// How soon it is tried again.
pub const NOT_ALLOWED_RETRY: SignedDuration = SignedDuration::from_secs(1);
