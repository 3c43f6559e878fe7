//! How a transaction that keeps the group's offsets pending is found and ended.

use super::export::tool;
use crate::machine::request::Request;

/// What to do about a transaction that stays open. The offsets of a transaction are in the topic
/// `__consumer_offsets`.
pub(in crate::machine) fn advice(request: &Request) -> String {
    let tool = tool("kafka-transactions.sh", request);
    format!(
        "To find the transaction: {tool} find-hanging --topic __consumer_offsets --max-transaction-timeout 1; to end it: {tool} abort \
         --topic __consumer_offsets, with the --partition and --start-offset that were found"
    )
}
