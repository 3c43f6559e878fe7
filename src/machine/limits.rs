//! Limits that several parts share.

/// How many times a target that somebody scales up is scaled down again before the reset gives way.
pub const MAX_REHOLDS: i32 = 3;
