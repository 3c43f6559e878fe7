//! Bad input, from people and from brokers: what cannot be is refused in words, and nothing that anybody sends stops the others.

mod anything;
pub mod hostile;
mod killed;
mod limits;
mod rules;
mod undecodable;
