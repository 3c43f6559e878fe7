//! Limits that several parts share.

/// How many times a target that was scaled up is scaled down again before the reset gives up.
pub const MAX_REHOLDS: i32 = 3;
