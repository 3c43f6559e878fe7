//! Limits that several parts share.

/// How many times a target that was scaled up is scaled down again before the reset gives up.
pub const MAX_REHOLDS: i32 = 3;

/// The largest regular expression that is compiled, in bytes of the compiled form: it comes from a
/// user.
pub const PATTERN_SIZE: usize = 1 << 20;
