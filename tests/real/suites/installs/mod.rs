//! The install itself changes in the middle of a hold: it is taken away, upgraded or downgraded.

pub mod uninstall;
mod upgrade;
mod versions;
