//! A bank that is killed again and again: no money comes or goes, and no transfer that was acknowledged is missing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use pool_manager::rusqlite;
use pool_manager::{DatabaseManager, Error, PoolConfig, Result, Synchronous, Transaction};

use crate::support::{another_process, role};

const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 1_000;
/// How often the bank is killed.
const ROUNDS: u64 = 12;

/// What becomes of a transfer.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Done,
    Fails,
    Panics,
}

/// Numbers that look like chance (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Clone)]
struct Transfer {
    id: String,
    from: i64,
    to: i64,
    amount: i64,
    ending: Ending,
}

impl Transfer {
    fn run(&self, tx: &Transaction<'_>) -> Result<()> {
        let Self { id, from, to, amount, ending } = self;
        tx.prepare_cached("UPDATE accounts SET balance = balance - ?1 WHERE id = ?2")?.execute([amount, from])?;
        tx.prepare_cached("INSERT INTO transfers VALUES (?1, ?2, ?3, ?4)")?.execute((id, from, to, amount))?;
        match ending {
            Ending::Done => {}
            Ending::Fails => return Err(Error::application("the bank says no")),
            Ending::Panics => panic!("the bank says no, loudly"),
        }
        tx.prepare_cached("UPDATE accounts SET balance = balance + ?1 WHERE id = ?2")?.execute([amount, to])?;
        Ok(())
    }
}

/// A line that is cut off does not end with a full stop.
fn report(what: &str, transfer: &Transfer) {
    let line = format!("{what} {} .\n", transfer.id);
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// Transfers for ever, and tells what it was told.
async fn customer(db: DatabaseManager, round: String, number: u64) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (u64::from(std::process::id()) << 16) ^ (number + 1));
    for count in 0_u64.. {
        let ending = match dice.below(20) {
            0 => Ending::Panics,
            1 | 2 => Ending::Fails,
            _ => Ending::Done,
        };
        let from = dice.below(ACCOUNTS as u64) as i64;
        let to = (from + 1 + dice.below(ACCOUNTS as u64 - 1) as i64) % ACCOUNTS;
        let amount = 1 + dice.below(50) as i64;
        let transfer = Transfer { id: format!("{round}-{number}-{count}"), from, to, amount, ending };
        let (db, work) = (db.clone(), transfer.clone());
        let shared = dice.below(4) > 0;
        let task = tokio::spawn(async move {
            if shared {
                db.write(move |tx| work.run(tx)).await
            } else {
                db.execute_pooled_transaction(move |tx| work.run(tx)).await
            }
        });
        // Some go away before they are told.
        let patience = if dice.below(5) == 0 { dice.below(2_000) } else { 60_000_000 };
        let stop = task.abort_handle();
        match tokio::time::timeout(Duration::from_micros(patience), task).await {
            Ok(Ok(Ok(()))) => report("done", &transfer),
            Ok(Ok(Err(_)) | Err(_)) => report("never", &transfer),
            Err(_) => stop.abort(),
        }
    }
}

fn open(path: &Path) -> DatabaseManager {
    let config = PoolConfig::builder().synchronous(Synchronous::Full).wal_autocheckpoint(40).max_connections(4);
    DatabaseManager::new().with_pooling(path, config).unwrap()
}

fn bank(round: String, path: &Path) {
    // What panics here is meant to.
    std::panic::set_hook(Box::new(|_| {}));
    let db = open(path);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for number in 0..12 {
        runtime.spawn(customer(db.clone(), round.clone(), number));
    }
    // Some block a thread, and some only look.
    let mut dice = Dice(u64::from(std::process::id()));
    for count in 0_u64.. {
        let sum: i64 = db
            .blocking()
            .read(|conn| Ok(conn.query_row("SELECT sum(balance) FROM accounts", [], |row| row.get(0))?))
            .unwrap();
        if sum != ACCOUNTS * BALANCE {
            std::io::stdout().lock().write_all(format!("wrong sum {sum} .\n").as_bytes()).unwrap();
        }
        let from = dice.below(ACCOUNTS as u64) as i64;
        let to = (from + 1) % ACCOUNTS;
        let transfer = Transfer { id: format!("{round}-t-{count}"), from, to, amount: 7, ending: Ending::Done };
        let ordered = transfer.clone();
        db.blocking().write(move |tx| ordered.run(tx)).unwrap();
        report("done", &transfer);
    }
}

fn check(conn: &rusqlite::Connection, done: &BTreeSet<String>, never: &BTreeSet<String>) {
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let text: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(text, "ok");
    assert_eq!(one("SELECT sum(balance) FROM accounts"), ACCOUNTS * BALANCE, "the sum of all accounts");
    let wrong = "SELECT count(*) FROM accounts WHERE balance <> 1000
        + coalesce((SELECT sum(amount) FROM transfers WHERE dest = accounts.id), 0)
        - coalesce((SELECT sum(amount) FROM transfers WHERE source = accounts.id), 0)";
    assert_eq!(one(wrong), 0, "each account is what its transfers make it");
    let mut statement = conn.prepare("SELECT id FROM transfers").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    let kept: BTreeSet<String> = ids.collect::<rusqlite::Result<_>>().unwrap();
    let lost: Vec<_> = done.difference(&kept).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let back: Vec<_> = never.intersection(&kept).collect();
    assert!(back.is_empty(), "failed and kept: {back:?}");
}

#[test]
fn a_bank_that_is_killed_at_any_moment_keeps_every_acknowledged_transfer_and_its_sum() {
    if let Some((round, path)) = role() {
        return bank(round, &path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank.sqlite");
    let db = open(&path);
    db.blocking()
        .write(|tx| {
            tx.execute_batch(
                "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                 CREATE TABLE transfers (id TEXT PRIMARY KEY, source INTEGER, dest INTEGER, amount INTEGER) WITHOUT ROWID",
            )?;
            for id in 0..ACCOUNTS {
                tx.execute("INSERT INTO accounts VALUES (?1, ?2)", [id, BALANCE])?;
            }
            Ok(())
        })
        .unwrap();
    db.blocking().close_pool().unwrap();

    let (mut done, mut never) = (BTreeSet::new(), BTreeSet::new());
    let mut dice = Dice(u64::from(std::process::id()) | 1);
    for round in 0..ROUNDS {
        let name = "bank::a_bank_that_is_killed_at_any_moment_keeps_every_acknowledged_transfer_and_its_sum";
        let mut child = another_process(name, &round.to_string(), &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        let dies_at = 1 + dice.below(400);
        while let Some(Ok(line)) = lines.next() {
            // Whatever the harness prints before it is no report; the first stands behind that on one line.
            let words: Vec<_> = line.split(' ').collect();
            let Some([what, id, "."]) = words.last_chunk::<3>() else { continue };
            heard += 1;
            match *what {
                what if what.ends_with("done") => done.insert((*id).to_owned()),
                what if what.ends_with("never") => never.insert((*id).to_owned()),
                _ => panic!("{line}"),
            };
            if heard == dies_at {
                // SIGKILL; what it had said before still comes.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard >= dies_at, "it ended by itself");
        // By turns, what a fresh pool finds and what another program does.
        if round % 2 == 0 {
            let db = open(&path);
            db.blocking()
                .execute_with_pool(|conn| {
                    check(conn, &done, &never);
                    Ok(())
                })
                .unwrap();
            db.blocking().close_pool().unwrap();
        } else {
            check(&rusqlite::Connection::open(&path).unwrap(), &done, &never);
        }
    }
    assert!(done.len() as u64 >= ROUNDS && !never.is_empty(), "{} and {}", done.len(), never.len());
}
