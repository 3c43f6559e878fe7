//! What matters after years: finished resets that are deleted, and what they leave behind.

mod expiry;
mod files;
mod receipts;
