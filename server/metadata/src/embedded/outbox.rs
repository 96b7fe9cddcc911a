//! The queue of messages in its table.
//!
//! `next_at` is 0 until a message was tried: new messages go out in order, and no clock can hold them up.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::transaction::Transaction;
use super::{Embedded, rows};
use crate::clock::UnixMillis;
use crate::outbox::{Message, Outbox, OutboxLen};
use crate::{Error, Result};

/// Payload bytes after which a page takes no further message.
const PAGE_LEN_MAX: usize = 1 << 20;

/// The most messages in one page.
const PAGE_COUNT_MAX: usize = 1000;

/// No retry is put off longer than this: a message that seems to wait longer was put off before the clock was set back.
const RETRY_WAIT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Queues messages with the change that is being applied, which must be guarded.
pub(super) fn append(transaction: &Transaction<'_>, payloads: &[Bytes]) -> Result<()> {
    if payloads.is_empty() {
        return Ok(());
    }
    let before = transaction.outbox_len()?;
    let mut statement =
        transaction.prepare_cached("INSERT INTO outbox (next_at, queued_at, payload) VALUES (0, ?1, ?2)")?;
    for payload in payloads {
        statement.execute(params![transaction.now_column(), &payload[..]])?;
    }
    let len = before + payloads.len() as u64;
    let excess = len.saturating_sub(transaction.outbox_len_max());
    if excess > 0 {
        let dropped = transaction
            .prepare_cached("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT ?1)")?
            .execute([i64::try_from(excess).unwrap_or(i64::MAX)])?;
        transaction.note_dropped(dropped as u64);
    }
    transaction.set_outbox_len(len - excess);
    Ok(())
}

/// How many messages wait.
pub(super) fn count(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM outbox")?;
    let count: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(count.max(0).cast_unsigned())
}

fn peek(connection: &Connection, limit: usize, now: UnixMillis) -> Result<Vec<Message>> {
    let mut page = Page::new(limit);
    let due = "SELECT id, attempts, queued_at, payload FROM outbox WHERE next_at <= ?1 ORDER BY next_at, id LIMIT ?2";
    page.read(connection, due, now)?;
    let misdated = "SELECT id, attempts, queued_at, payload FROM outbox WHERE next_at > ?1 ORDER BY next_at, id LIMIT ?2";
    page.read(connection, misdated, now.saturating_add(RETRY_WAIT_MAX_MS))?;
    Ok(page.messages)
}

fn behind(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Message>> {
    let mut page = Page::new(limit);
    let sql = "SELECT id, attempts, queued_at, payload FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2";
    page.read(connection, sql, after)?;
    Ok(page.messages)
}

struct Page {
    messages: Vec<Message>,
    limit: usize,
    len: usize,
    full: bool,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { messages: Vec::new(), limit: limit.min(PAGE_COUNT_MAX), len: 0, full: false }
    }

    /// Takes the rows of `sql` from `start` on, as far as there is room.
    fn read(&mut self, connection: &Connection, sql: &str, start: u64) -> Result<()> {
        let left = if self.full { 0 } else { self.limit - self.messages.len() };
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![rows::moment(start), left as i64])?;
        while let Some(row) = rows.next()? {
            let message = message(row)?;
            self.len += message.payload.len();
            self.full = self.len > PAGE_LEN_MAX && !self.messages.is_empty();
            if self.full {
                break;
            }
            self.messages.push(message);
        }
        Ok(())
    }
}

fn message(row: &Row<'_>) -> Result<Message> {
    let payload = row.get_ref(3)?.as_blob().map_err(|_| Error::Damaged { what: "message" })?;
    Ok(Message {
        id: rows::size(row, 0)?,
        attempts: row.get(1)?,
        queued_at: rows::moment_at(row, 2)?,
        payload: Bytes::copy_from_slice(payload),
    })
}

fn done(transaction: &Transaction<'_>, ids: &[u64]) -> Result<()> {
    transaction.guard()?;
    let before = transaction.outbox_len()?;
    let mut removed = 0;
    let mut statement = transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    for id in ids {
        removed += statement.execute([i64::try_from(*id).unwrap_or(i64::MAX)])? as u64;
    }
    transaction.set_outbox_len(before.saturating_sub(removed));
    Ok(())
}

fn retry(transaction: &Transaction<'_>, id: u64, next_at: UnixMillis, attempts: u32) -> Result<()> {
    transaction
        .prepare_cached("UPDATE outbox SET next_at = ?2, attempts = ?3 WHERE id = ?1")?
        .execute(params![i64::try_from(id).unwrap_or(i64::MAX), rows::moment(next_at), attempts])?;
    Ok(())
}

fn last(connection: &Connection) -> Result<u64> {
    // SQLite's own memory of AUTOINCREMENT; it has no row before the first message.
    let mut statement = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?;
    let last: Option<i64> = rows::first(&mut statement, [], |row| Ok(row.get(0)?))?;
    Ok(last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0))
}

fn oldest(connection: &Connection) -> Result<Option<UnixMillis>> {
    let mut statement = connection.prepare_cached("SELECT queued_at FROM outbox ORDER BY id LIMIT 1")?;
    rows::first(&mut statement, [], |row| rows::moment_at(row, 0))
}

#[async_trait]
impl Outbox for Embedded {
    async fn outbox_append(&self, payloads: Vec<Bytes>) -> Result<()> {
        let cost = payloads.iter().map(Bytes::len).sum();
        self.write(cost, move |transaction| {
            transaction.guard()?;
            append(transaction, &payloads)
        })
        .await
    }

    async fn outbox_peek(&self, limit: usize, now: UnixMillis) -> Result<Vec<Message>> {
        self.read(move |connection| peek(connection, limit, now)).await
    }

    async fn outbox_after(&self, after: u64, limit: usize) -> Result<Vec<Message>> {
        self.read(move |connection| behind(connection, after, limit)).await
    }

    async fn outbox_done(&self, ids: Vec<u64>) -> Result<()> {
        self.write(0, move |transaction| done(transaction, &ids)).await
    }

    async fn outbox_retry(&self, id: u64, next_at: UnixMillis, attempts: u32) -> Result<()> {
        self.write(0, move |transaction| retry(transaction, id, next_at, attempts)).await
    }

    fn outbox_len(&self) -> OutboxLen {
        OutboxLen {
            waiting: self.0.shared.outbox_waiting.load(Ordering::Relaxed),
            dropped: self.0.shared.outbox_dropped.load(Ordering::Relaxed),
        }
    }

    async fn outbox_last(&self) -> Result<u64> {
        self.read(last).await
    }

    async fn outbox_oldest(&self) -> Result<Option<UnixMillis>> {
        self.read(oldest).await
    }
}
