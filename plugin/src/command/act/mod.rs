//! Commands that change something.
