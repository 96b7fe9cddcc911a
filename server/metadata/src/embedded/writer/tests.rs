//! Group commit: who shares a transaction, and what each is told when something in it fails.

use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};

use super::super::transaction::Shared;
use super::*;

fn connection() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
    connection
}

fn memory() -> Memory {
    Memory::new(Arc::new(Shared::new(0, 0)), 10)
}

fn insert(transaction: &Transaction<'_>, number: i64) -> Result<i64> {
    transaction.guard()?;
    transaction.execute("INSERT INTO numbers VALUES (?1)", [number])?;
    Ok(number)
}

fn numbers(connection: &Connection) -> Result<Vec<i64>> {
    let mut statement = connection.prepare("SELECT number FROM numbers ORDER BY number")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A change and where its answer arrives.
fn change<F>(work: F) -> (Box<dyn Change>, oneshot::Receiver<Result<i64>>)
where
    F: FnOnce(&Transaction<'_>) -> Result<i64> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Request { cost: 0, work: Some(work), outcome: None, reply }), answer)
}

#[test]
fn one_failing_change_takes_no_other_with_it() {
    let connection = connection();
    let (first, mut first_answer) = change(|connection| insert(connection, 1));
    let (second, mut second_answer) = change(|connection| {
        insert(connection, 2)?;
        insert(connection, 1)
    });
    let (third, mut third_answer) = change(|connection| insert(connection, 3));
    let mut batch = vec![first, second, third];
    let committed = transact(&connection, &memory(), &mut batch);
    batch.into_iter().for_each(|change| change.answer(committed.clone()));
    assert_eq!(first_answer.try_recv().unwrap(), Ok(1));
    assert!(matches!(second_answer.try_recv().unwrap(), Err(Error::Database { .. })));
    assert_eq!(third_answer.try_recv().unwrap(), Ok(3));
    assert_eq!(numbers(&connection), Ok(vec![1, 3]));
}

#[test]
fn when_the_transaction_is_lost_nobody_is_told_otherwise() {
    let connection = connection();
    let (first, mut first_answer) = change(|connection| insert(connection, 1));
    let (second, mut second_answer) = change(|connection| {
        connection.execute_batch("ROLLBACK")?; // what SQLite does by itself when the disk is full
        Ok(2)
    });
    let (third, mut third_answer) = change(|connection| insert(connection, 3));
    let mut batch = vec![first, second, third];
    let committed = transact(&connection, &memory(), &mut batch);
    batch.into_iter().for_each(|change| change.answer(committed.clone()));
    for answer in [&mut first_answer, &mut second_answer, &mut third_answer] {
        assert_eq!(answer.try_recv().unwrap().unwrap_err().kind(), crate::ErrorKind::Unavailable);
    }
    assert_eq!(numbers(&connection), Ok(vec![]));
    let (again, mut answer) = change(|connection| insert(connection, 1));
    let mut batch = vec![again];
    let committed = transact(&connection, &memory(), &mut batch);
    batch.into_iter().for_each(|change| change.answer(committed.clone()));
    assert_eq!(answer.try_recv().unwrap(), Ok(1));
}

#[test]
fn a_change_that_nobody_waits_for_is_not_made() {
    let connection = connection();
    let (abandoned, answer) = change(|connection| insert(connection, 1));
    drop(answer);
    transact(&connection, &memory(), &mut [abandoned]).unwrap();
    assert_eq!(numbers(&connection), Ok(vec![]));
}

#[test]
fn a_batch_is_bounded_in_length_and_in_bytes() {
    let (queue, mut waiting) = mpsc::channel::<Box<dyn Change>>(QUEUE_LEN);
    for _ in 0..BATCH_LEN_MAX + 10 {
        queue.try_send(change(|_| Ok(0)).0).unwrap();
    }
    let first = waiting.try_recv().unwrap();
    assert_eq!(gather(first, &mut waiting).len(), BATCH_LEN_MAX);
    let large = || {
        let work = |_: &Transaction<'_>| Ok(0);
        Box::new(Request {
            cost: BATCH_COST_MAX,
            work: Some(work),
            outcome: None,
            reply: oneshot::channel::<Result<i64>>().0,
        })
    };
    assert_eq!(gather(large(), &mut waiting).len(), 1);
    assert_eq!(gather(waiting.try_recv().unwrap(), &mut waiting).len(), 10);
}

#[tokio::test]
async fn what_waits_while_the_writer_is_busy_shares_one_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("numbers.db");
    let mut connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE numbers (number INTEGER)").unwrap();
    let outsider = Connection::open(&path).unwrap();
    let log = LogWatch::start(&mut connection, sync_channel(1).0).unwrap();
    let writer = Writer::start(connection, memory(), log).unwrap();
    let (go, wait) = channel::<()>();
    let (started_sent, started) = oneshot::channel();
    let blocker = writer.run(0, move |_| {
        let _ = started_sent.send(());
        let _ = wait.recv();
        Ok(0)
    });
    let followers = async {
        started.await.unwrap();
        let all =
            (1..=20).map(|number| Box::pin(writer.run(0, move |connection| insert(connection, number))));
        let mut all: Vec<_> = all.collect();
        let mut witness = Box::pin(writer.run(0, move |_| numbers(&outsider)));
        std::future::poll_fn(|context| {
            for future in &mut all {
                assert!(future.as_mut().poll(context).is_pending());
            }
            assert!(witness.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        go.send(()).unwrap();
        for future in all {
            future.await.unwrap();
        }
        witness.await.unwrap()
    };
    let (blocked, seen_outside) = tokio::join!(blocker, followers);
    blocked.unwrap();
    assert!(seen_outside.is_empty(), "all twenty were applied, none was committed alone");
}

#[test]
fn when_the_disk_is_full_answers_agree_with_what_is_kept() {
    let connection = connection();
    connection.execute_batch("CREATE TABLE large (bytes BLOB); PRAGMA max_page_count = 10").unwrap();
    let (first, mut first_answer) = change(|connection| insert(connection, 1));
    let (large, mut large_answer) = change(|connection| {
        insert(connection, 2)?;
        connection.execute("INSERT INTO large VALUES (zeroblob(1000000))", [])?;
        Ok(2)
    });
    let (third, mut third_answer) = change(|connection| insert(connection, 3));
    let mut batch = vec![first, large, third];
    let committed = transact(&connection, &memory(), &mut batch);
    batch.into_iter().for_each(|change| change.answer(committed.clone()));
    assert_eq!(large_answer.try_recv().unwrap().unwrap_err().kind(), crate::ErrorKind::Unavailable);
    let answers = [first_answer.try_recv().unwrap(), third_answer.try_recv().unwrap()];
    let acknowledged: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    assert_eq!(numbers(&connection), Ok(acknowledged));
}
