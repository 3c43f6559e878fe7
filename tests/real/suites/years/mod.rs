//! What matters when an operator runs for years: finished resets that are deleted, receipts that expire, and resets from files.

mod expiry;
mod files;
mod receipts;
