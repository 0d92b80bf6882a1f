//! What the files of a recipe look like from outside, to tell whether one changed without reading it.
//!
//! Owns fingerprints and the decision when to read again; it must not read files nor know the time of day by itself.
//! Invariant: whatever is read was left alone for the whole settling time before.

use std::fs::Metadata;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// File systems keep the time of a change as coarsely as this (FAT, two seconds), so one that follows sooner may leave no
/// trace.
const COARSEST: Duration = Duration::from_secs(2);

/// What a file looks like without reading it; `None` where there is none to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, file and time of the last change of its metadata: another file under the same name differs here.
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Fingerprint {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Fingerprint {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Every file that counts, each with what it looks like. Links are followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trail(Vec<(PathBuf, Option<Fingerprint>)>);

impl Trail {
    pub(crate) fn of(files: Vec<PathBuf>) -> Trail {
        let seen = |file: PathBuf| {
            let fingerprint = std::fs::metadata(&file).ok().map(|metadata| Fingerprint::of(&metadata));
            (file, fingerprint)
        };
        Trail(files.into_iter().map(seen).collect())
    }

    /// Returns the folders in which something happens when one of the files changes.
    #[cfg(feature = "notify")]
    pub(crate) fn folders(&self) -> std::collections::BTreeSet<PathBuf> {
        let named = self.0.iter().map(|(file, _)| file.clone());
        let linked = self.0.iter().filter_map(|(file, _)| file.canonicalize().ok());
        let folder = |file: PathBuf| {
            let folder = file.parent().unwrap_or(std::path::Path::new("."));
            if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
        };
        named.chain(linked).map(folder).collect()
    }

    /// Says whether a file changed so recently that a further change could look the same.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let modified = self.0.iter().filter_map(|(_, fingerprint)| fingerprint.as_ref()?.modified);
        modified.into_iter().any(|modified| now.duration_since(modified).is_ok_and(|age| age < COARSEST))
    }
}

/// What to do after a look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again after this long, or sooner.
    Wait(Duration),
    /// Read the files, and look again after this long, or sooner.
    Read(Duration),
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// What was last read; nothing at first, so that what changed before the first look is not missed.
    read: Option<Trail>,
    /// What was seen since, and when first.
    moving: Option<(Trail, Instant)>,
    /// When to read again although nothing is to be seen.
    again: Option<Instant>,
}

impl Tracker {
    /// Takes in what the files look like now, and decides.
    ///
    /// A changed file is read once it has looked the same for `settle`: whoever writes it may be half-way.
    pub(crate) fn look(
        &mut self,
        trail: Trail,
        at: (Instant, SystemTime),
        every: Duration,
        settle: Duration,
    ) -> Verdict {
        let (now, clock) = at;
        let again = self.again.is_some_and(|again| now >= again);
        if self.read.as_ref() == Some(&trail) && !again {
            self.moving = None;
            let until_again = self.again.map_or(every, |again| every.min(again - now));
            return Verdict::Wait(until_again);
        }
        let since = match &self.moving {
            Some((seen, since)) if *seen == trail => *since,
            _ => now,
        };
        let quiet = now.saturating_duration_since(since);
        if quiet < settle && !again {
            self.moving = Some((trail, since));
            return Verdict::Wait(settle - quiet);
        }
        self.again = trail.is_fresh(clock).then(|| now + COARSEST);
        (self.moving, self.read) = (None, Some(trail));
        Verdict::Read(if self.again.is_some() { every.min(COARSEST) } else { every })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);
    const SETTLE: Duration = Duration::from_millis(100);

    /// A file of this length, last changed long ago.
    fn trail(length: u64) -> Trail {
        let fingerprint = Fingerprint {
            length,
            modified: Some(SystemTime::UNIX_EPOCH),
            #[cfg(unix)]
            identity: (0, 0, 0, 0),
        };
        Trail(vec![(PathBuf::from("pool.toml"), Some(fingerprint))])
    }

    struct Bench {
        tracker: Tracker,
        start: Instant,
        clock: SystemTime,
    }

    impl Bench {
        fn new() -> Bench {
            let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(3_600);
            Bench { tracker: Tracker::default(), start: Instant::now(), clock }
        }

        fn look(&mut self, millis: u64, trail: Trail) -> Verdict {
            let after = Duration::from_millis(millis);
            self.tracker.look(trail, (self.start + after, self.clock + after), EVERY, SETTLE)
        }
    }

    #[test]
    fn the_first_look_reads_once_the_file_is_at_rest() {
        let mut bench = Bench::new();
        assert_eq!(bench.look(0, trail(1)), Verdict::Wait(SETTLE));
        assert_eq!(bench.look(100, trail(1)), Verdict::Read(EVERY));
        assert_eq!(bench.look(1_100, trail(1)), Verdict::Wait(EVERY));
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let mut bench = Bench::new();
        bench.look(0, trail(1));
        assert_eq!(bench.look(100, trail(1)), Verdict::Read(EVERY));
        for step in 0..50 {
            assert_eq!(bench.look(1_000 + step * 90, trail(2 + step)), Verdict::Wait(SETTLE), "step {step}");
        }
        assert_eq!(bench.look(5_450, trail(51)), Verdict::Wait(Duration::from_millis(60)));
        assert_eq!(bench.look(5_510, trail(51)), Verdict::Read(EVERY));
    }

    #[test]
    fn a_change_that_is_taken_back_before_it_settles_is_not_read() {
        let mut bench = Bench::new();
        bench.look(0, trail(1));
        bench.look(100, trail(1));
        assert_eq!(bench.look(200, trail(2)), Verdict::Wait(SETTLE));
        assert_eq!(bench.look(250, trail(1)), Verdict::Wait(EVERY));
        assert_eq!(bench.look(350, trail(1)), Verdict::Wait(EVERY));
    }

    #[test]
    fn a_file_that_goes_away_is_a_change() {
        let mut bench = Bench::new();
        bench.look(0, trail(1));
        bench.look(100, trail(1));
        let gone = || Trail(vec![(PathBuf::from("pool.toml"), None)]);
        assert_eq!(bench.look(200, gone()), Verdict::Wait(SETTLE));
        assert_eq!(bench.look(300, gone()), Verdict::Read(EVERY));
    }

    #[test]
    fn a_file_read_soon_after_it_changed_is_read_once_more() {
        let mut bench = Bench::new();
        bench.clock = SystemTime::UNIX_EPOCH;
        bench.look(0, trail(1));
        assert_eq!(bench.look(500, trail(1)), Verdict::Read(EVERY));
        assert_eq!(bench.look(1_500, trail(1)), Verdict::Wait(EVERY));
        assert_eq!(bench.look(2_500, trail(1)), Verdict::Read(EVERY));
        assert_eq!(bench.look(9_000, trail(1)), Verdict::Wait(EVERY));
    }

    #[test]
    fn what_a_link_points_at_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, link) = (folder.path().join("one"), folder.path().join("two"), folder.path().join("pool.toml"));
        std::fs::write(&one, "a").unwrap();
        std::fs::write(&two, "b").unwrap();
        let look = || Trail::of(vec![link.clone()]);
        assert_eq!(look().0[0].1, None);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&one, &link).unwrap();
            let first = look();
            std::fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(&two, &link).unwrap();
            assert_ne!(look(), first);
            assert_eq!(look(), look());
        }
    }
}
