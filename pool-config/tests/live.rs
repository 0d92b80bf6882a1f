//! A live configuration follows its files; a bad file changes nothing and is told once; readers always see a whole one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pool_config::{Key, LiveConfig, PoolConfig, Reload, Subscription, Value, WatchOptions};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    live: LiveConfig,
    heard: Receiver<String>,
    _subscription: Subscription,
}

/// A live configuration of one file, and what a subscriber hears.
fn bench(text: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.toml");
    fs::write(&path, text).unwrap();
    let live = PoolConfig::builder().file(&path).min_connections(0).live().unwrap();
    let (tell, heard) = channel();
    let subscription = live.subscribe(listener(tell));
    Bench { folder, live, heard, _subscription: subscription }
}

/// Sends on what it is told: every key and its new value, or the problems.
fn listener(tell: Sender<String>) -> impl Fn(&Reload) + Send + Sync {
    let tell = Mutex::new(tell);
    move |reload| {
        let text = match reload {
            Reload::Changed(change) => {
                let keys = change.keys.iter().map(|changed| format!("{}={}", changed.key, changed.new.value));
                keys.collect::<Vec<_>>().join(" ")
            }
            Reload::Refused(error) => format!("{} refused", error.problems().len()),
            _ => unreachable!(),
        };
        tell.lock().unwrap().send(text).unwrap();
    }
}

impl Bench {
    fn path(&self) -> PathBuf {
        self.folder.path().join("pool.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// Puts a finished file in the place of the old one.
    fn replace(&self, text: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    /// Waits for the next thing that is told; only a defect lets the time run out.
    fn hear(&self) -> String {
        self.heard.recv_timeout(Duration::from_secs(60)).unwrap()
    }
}

/// Looks often, so that the tests are over soon.
fn often() -> WatchOptions {
    WatchOptions::default().every(Duration::from_millis(2)).settle(Duration::from_millis(2))
}

#[test]
fn a_reload_tells_what_changed_and_whether_it_is_live() {
    let bench = bench("max_connections = 10");
    bench.write("\nmax_connections = 20\npage_size = 8192");
    let change = bench.live.reload().unwrap().unwrap();
    assert_eq!((change.old.max_connections(), change.new.max_connections()), (10, 20));
    assert_eq!(change.live_keys().map(|changed| changed.key).collect::<Vec<_>>(), [Key::MaxConnections]);
    assert_eq!(change.waiting_keys().map(|changed| changed.key).collect::<Vec<_>>(), [Key::PageSize]);
    assert_eq!(change.of(Key::MaxConnections).unwrap().old.value, Value::Count(10));
    assert!(change.of(Key::IdleTimeout).is_none());
    let path = bench.path().display().to_string();
    assert_eq!(
        change.to_string(),
        format!(
            "max_connections: 10 -> 20, from {path} line 2\n\
             page_size: 4 KiB -> 8 KiB, from {path} line 3 (needs the pool to be opened anew)"
        )
    );
    assert_eq!(bench.hear(), "max_connections=20 page_size=8 KiB");
    assert_eq!(*bench.live.current(), change.new);
}

#[test]
fn values_that_stay_the_same_are_no_change_but_their_lines_are_kept_up() {
    let bench = bench("max_connections = 20");
    bench.write("# moved\n\nmax_connections = 20");
    assert!(bench.live.reload().unwrap().is_none());
    assert!(bench.heard.try_recv().is_err());
    assert!(bench.live.current().origin(Key::MaxConnections).to_string().ends_with(" line 3"));
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_once() {
    let bench = bench("max_connections = 20");
    bench.write("max_connections = 0");
    for _ in 0..3 {
        assert!(bench.live.reload().unwrap_err().to_string().starts_with("max_connections = 0 is zero, from "));
    }
    assert_eq!(bench.hear(), "1 refused");
    assert!(bench.heard.try_recv().is_err());
    assert_eq!(bench.live.current().max_connections(), 20);
    assert_eq!(bench.live.refused().unwrap().problems().len(), 1);

    // Other problems are told, and so are the first ones when they come back after a good file.
    bench.write("max_connections = 0\nidle_timeout = 0");
    bench.live.reload().unwrap_err();
    assert_eq!(bench.hear(), "2 refused");
    bench.write("max_connections = 20");
    assert!(bench.live.reload().unwrap().is_none());
    assert!(bench.live.refused().is_none());
    bench.write("max_connections = 0");
    bench.live.reload().unwrap_err();
    assert_eq!(bench.hear(), "1 refused");
    fs::remove_file(bench.path()).unwrap();
    assert!(bench.live.reload().unwrap_err().to_string().starts_with("cannot read "));
    assert_eq!((bench.hear().as_str(), bench.live.current().max_connections()), ("1 refused", 20));
}

#[test]
fn a_database_follows_its_own_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.toml");
    fs::write(&path, "max_connections = 10\n[databases.users]\nidle_timeout = 1000").unwrap();
    let recipe = PoolConfig::builder().file(&path);
    let (users, others) = (recipe.clone().live_for("Users").unwrap(), recipe.live_for("others").unwrap());
    fs::write(&path, "max_connections = 10\n[databases.users]\nmax_connections = 4").unwrap();
    let change = users.reload().unwrap().unwrap();
    assert_eq!(change.keys.len(), 2);
    assert!(others.reload().unwrap().is_none());
    assert_eq!((users.current().max_connections(), others.current().max_connections()), (4, 10));
}

#[test]
fn a_dropped_subscription_hears_nothing_and_a_panicking_one_keeps_nobody_from_hearing() {
    let bench = bench("max_connections = 10");
    let (tell, late) = channel();
    let bad = bench.live.subscribe(|_| panic!("on purpose"));
    let after = bench.live.subscribe(listener(tell));
    bench.write("max_connections = 11");
    let live = bench.live.clone();
    assert!(thread::spawn(move || live.reload().unwrap()).join().is_err());
    assert_eq!((bench.hear().as_str(), late.recv().unwrap().as_str()), ("max_connections=11", "max_connections=11"));

    drop((bad, after));
    bench.write("max_connections = 12");
    bench.live.reload().unwrap().unwrap();
    assert_eq!(bench.hear(), "max_connections=12");
    // The sender went with its listener.
    assert!(late.recv().is_err());
}

#[test]
fn readers_see_whole_configurations_while_the_file_changes() {
    let bench = bench("max_connections = 1\nmax_cache_size = 1");
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (live, over) = (bench.live.clone(), Arc::clone(&over));
            thread::spawn(move || {
                let mut highest = 0;
                while !over.load(Ordering::Acquire) {
                    let config = live.current();
                    assert_eq!(config.max_connections(), config.max_cache_size());
                    assert!(config.max_connections() >= highest);
                    highest = config.max_connections();
                }
                live.current().max_connections()
            })
        })
        .collect();
    for count in 2..=200 {
        bench.write(&format!("max_connections = {count}\nmax_cache_size = {count}"));
        assert_eq!(bench.live.reload().unwrap().unwrap().keys.len(), 2);
    }
    over.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 200);
    }
}

#[test]
fn a_watched_file_is_reloaded_however_it_changes() {
    let bench = bench("max_connections = 10");
    let watch = bench.live.watch_with(often()).unwrap();
    // Written in place, the file is empty for a moment, which says the same as before here.
    bench.write("max_connections = 11");
    assert_eq!(bench.hear(), "max_connections=11");
    bench.replace("max_connections = 12");
    assert_eq!(bench.hear(), "max_connections=12");
    bench.replace("max_connections = ");
    assert_eq!(bench.hear(), "1 refused");
    assert_eq!(bench.live.current().max_connections(), 12);
    bench.replace("max_connections = 13");
    assert_eq!(bench.hear(), "max_connections=13");
    fs::remove_file(bench.path()).unwrap();
    assert_eq!(bench.hear(), "1 refused");
    bench.replace("max_connections = 14");
    assert_eq!(bench.hear(), "max_connections=14");
    assert!(bench.heard.try_recv().is_err());
    drop(watch);
}

#[cfg(unix)]
#[test]
fn a_link_that_is_turned_to_another_file_is_followed() {
    use std::os::unix::fs::symlink;
    let bench = bench("max_connections = 10");
    let _watch = bench.live.watch_with(often()).unwrap();
    let turn = |name: &str, text: &str| {
        let (target, link) = (bench.folder.path().join(name), bench.folder.path().join("link"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("pool.toml"), text).unwrap();
        symlink(target.join("pool.toml"), &link).unwrap();
        fs::rename(&link, bench.path()).unwrap();
    };
    turn("one", "max_connections = 11");
    assert_eq!(bench.hear(), "max_connections=11");
    turn("two", "max_connections = 12");
    assert_eq!(bench.hear(), "max_connections=12");
    let next = bench.folder.path().join("next");
    fs::write(&next, "max_connections = 13").unwrap();
    fs::rename(next, bench.folder.path().join("two/pool.toml")).unwrap();
    assert_eq!(bench.hear(), "max_connections=13");
}

#[test]
fn what_changed_before_the_watch_began_is_not_missed() {
    let bench = bench("max_connections = 10");
    bench.write("max_connections = 11");
    let _watch = bench.live.watch_with(often()).unwrap();
    assert_eq!(bench.hear(), "max_connections=11");
}

#[test]
fn watching_survives_a_panicking_subscriber_and_serves_many() {
    let (one, two) = (bench("max_connections = 10"), bench("max_connections = 10"));
    let _watches = (one.live.watch_with(often()).unwrap(), two.live.watch_with(often()).unwrap());
    let _bad = one.live.subscribe(|_| panic!("on purpose"));
    for count in 11..14 {
        for bench in [&one, &two] {
            bench.replace(&format!("max_connections = {count}"));
            assert_eq!(bench.hear(), format!("max_connections={count}"));
        }
    }
}

#[test]
fn nothing_is_reloaded_once_the_watch_is_dropped() {
    let (dropped, kept) = (bench("max_connections = 10"), bench("max_connections = 10"));
    let watch = dropped.live.watch_with(often()).unwrap();
    let _kept = kept.live.watch_with(often()).unwrap();
    dropped.replace("max_connections = 11");
    assert_eq!(dropped.hear(), "max_connections=11");
    drop(watch);
    dropped.replace("max_connections = 12");
    // The thread that watches both has looked again by the time the other one hears, twice to be past a look under way.
    for count in 11..13 {
        kept.replace(&format!("max_connections = {count}"));
        assert_eq!(kept.hear(), format!("max_connections={count}"));
    }
    assert!(dropped.heard.try_recv().is_err());
    assert_eq!(dropped.live.current().max_connections(), 11);
    // And it begins again with a new watch.
    let _watch = dropped.live.watch_with(often()).unwrap();
    assert_eq!(dropped.hear(), "max_connections=12");
}

#[cfg(unix)]
#[test]
fn a_signal_can_trigger_the_reload() {
    use signal_hook::consts::SIGHUP;
    use signal_hook::iterator::Signals;
    let bench = bench("max_connections = 10");
    let mut signals = Signals::new([SIGHUP]).unwrap();
    let (live, closing) = (bench.live.clone(), signals.handle());
    let thread = thread::spawn(move || {
        for _ in signals.forever() {
            live.reload().unwrap();
        }
    });
    bench.write("max_connections = 11");
    signal_hook::low_level::raise(SIGHUP).unwrap();
    assert_eq!(bench.hear(), "max_connections=11");
    closing.close();
    thread.join().unwrap();
}
