//! The manifest of an OffsetReset, out of the options.
