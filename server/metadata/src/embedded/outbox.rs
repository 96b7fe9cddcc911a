//! The queue of messages in its table.

use bytes::Bytes;
use rusqlite::params;

use super::transaction::Transaction;
use crate::Result;

/// Queues messages with the change that is being applied.
pub(super) fn append(transaction: &Transaction<'_>, payloads: &[Bytes]) -> Result<()> {
    if payloads.is_empty() {
        return Ok(());
    }
    let mut statement =
        transaction.prepare_cached("INSERT INTO outbox (next_at, queued_at, payload) VALUES (?1, ?1, ?2)")?;
    for payload in payloads {
        statement.execute(params![transaction.now_column(), &payload[..]])?;
    }
    Ok(())
}
