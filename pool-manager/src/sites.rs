//! How long the closures of each call site take, as far as that decides where they run next time.
//!
//! Every closure expression is a type of its own, so a type names a call site. Owns a table of fixed size in which each
//! site has a word: how many quick runs it owes before it counts as quick. It must not know what runs, or where.
//!
//! Invariant: a site counts as quick only if its last run that was measured and told anything was. One slow run of a quick site sends it
//! elsewhere until it was quick there, a second one right after that for long: a machine that is busy makes any run slow now and then. Which
//! it is one run tells, and others wait for that a moment: if all went elsewhere at once, so many threads would make any run slow. Two
//! sites that fall on one word forget each other, which costs a hop to another thread and nothing else.
//!
//! A run elsewhere is judged by two limits, because a thread that slept takes longer for the same: its caches are cold, and so may be the
//! processor's clock. What takes 105 µs where it is called takes 105 to 220 there. Between the limits a run tells nothing: who is away
//! stays, and owes no more for it.

use std::any::TypeId;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::thread_time::{Began, Usage};

/// What takes longer has no place on a thread that others wait for.
///
/// A hop to another thread and back costs 50 to 90 µs on the virtual machine that this was measured on, much of it because the other thread
/// slept; so it pays where the run takes longer than about twice that. The advice for tasks is to let others run every 10 to 100 µs
/// (<https://ryhl.io/blog/async-what-is-blocking/>). This is more, and no more than that: who waits behind such a run waits for it once,
/// who asked for it would wait for the hop each time.
const QUICK: Duration = Duration::from_micros(200);

/// What takes longer is no whole write for such a thread: much of it waits for the disk, and a processor has nothing of a thread that waits.
const QUICK_WHOLE: Duration = Duration::from_micros(100);

/// What takes longer, also on a thread that slept, is slow.
const SLOW: Duration = Duration::from_micros(400);

/// From here on a wait counts as one for a disk or for another program.
const LONG_WAIT: Duration = Duration::from_millis(1);

/// After a first slow run so many quick ones must follow. A further one doubles what is still owed then, at least to this.
const DEBT: u64 = 32;

/// No site owes more.
const MOST_DEBT: u64 = DEBT << 4;

/// After a slow run of a site that was quick before, so many.
const DOUBT: u64 = 2;

/// In place of what a site owes: it seemed slow where others wait for the thread, and its next run, elsewhere, tells.
const SUSPECT: u64 = u32::MAX as u64 - 1;

/// In place of what a site owes: that run has begun.
const ON_TRIAL: u64 = u32::MAX as u64 - 2;

/// For so long other runs of the site wait for what that one tells: for about as long as a hop to another thread and back takes.
const TRIAL: Duration = Duration::from_micros(200);

/// In place of what a site owes: it must not share a transaction.
const ALONE: u64 = u32::MAX as u64;

const WORDS: usize = 1024;

/// One call site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    word: usize,
    tag: u64,
    /// What takes longer is not quick.
    quick: Duration,
}

impl Site {
    /// The site of a closure type.
    #[inline]
    pub(crate) fn of<F: 'static>() -> Self {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(TypeId::of::<F>());
        // Never 0, which is the tag of a word that nobody has used.
        Self { word: hash as usize % WORDS, tag: hash >> 32 | 1, quick: QUICK }
    }
}

impl Site {
    /// The site of the whole write that the closure of this one is a part of: the transaction and its commit.
    #[inline]
    pub(crate) fn whole(self) -> Self {
        Self { word: (self.word + WORDS / 2) % WORDS, tag: self.tag ^ 2, quick: QUICK_WHOLE }
    }
}

/// What is known of the call sites of one database.
#[derive(Debug)]
pub(crate) struct Sites(Box<[AtomicU64]>);

/// A word is the tag and how many quick runs the site still owes, 32 bits each.
fn word(tag: u64, owes: u64) -> u64 {
    tag << 32 | owes
}

impl Sites {
    pub(crate) fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    /// What a site owes; `None`: it has not run.
    fn owes(&self, site: Site) -> Option<u64> {
        // The words order nothing: each stands for itself.
        let word = self.0[site.word].load(Ordering::Relaxed);
        (word >> 32 == site.tag).then_some(word & 0xffff_ffff)
    }

    fn set(&self, site: Site, owes: u64) {
        self.0[site.word].store(word(site.tag, owes), Ordering::Relaxed);
    }

    /// Tells whether the site may run where others wait for the thread. One that was never seen may not.
    #[inline]
    pub(crate) fn is_quick(&self, site: Site) -> bool {
        self.owes(site) == Some(0)
    }

    /// Tells whether the site has run, and not in a way that keeps it from sharing a transaction.
    pub(crate) fn is_known(&self, site: Site) -> bool {
        self.owes(site).is_some_and(|owes| owes != ALONE)
    }

    /// Notes that the site can harm those it shares a transaction with: it never counts as quick again.
    pub(crate) fn keep_alone(&self, site: Site) {
        self.set(site, ALONE);
    }

    /// Notes that a run which began so on a thread that others wait for ends. If it took too long, and not for want
    /// of a processor, the next one tells why: on a thread where it can be measured.
    #[inline]
    pub(crate) fn ran_here(&self, site: Site, began: Began) {
        self.ran_here_but_for(site, began, Duration::ZERO);
    }

    /// The same, where so much of the time was for others.
    #[inline]
    pub(crate) fn ran_here_but_for(&self, site: Site, began: Began, for_others: Duration) {
        if began.at.elapsed() > site.quick + for_others {
            self.seems_slow(site, began.worked(for_others));
        }
    }

    /// `worked`: how long it did, at most, if that can be told.
    #[cold]
    fn seems_slow(&self, site: Site, worked: Option<Duration>) {
        if worked.is_none_or(|worked| worked > site.quick) && self.is_quick(site) {
            self.set(site, SUSPECT);
        }
    }

    /// Tells whether another run of the site is about to tell whether it is slow. If none is, the caller's is that run.
    #[cold]
    pub(crate) fn is_on_trial(&self, site: Site) -> bool {
        match self.owes(site) {
            Some(SUSPECT) => {
                let (suspect, on_trial) = (word(site.tag, SUSPECT), word(site.tag, ON_TRIAL));
                self.0[site.word].compare_exchange(suspect, on_trial, Ordering::Relaxed, Ordering::Relaxed).is_err()
            }
            owes => owes == Some(ON_TRIAL),
        }
    }

    /// Lets other tasks run until it has told, but not for long.
    pub(crate) async fn end_of_trial(&self, site: Site) {
        let since = Instant::now();
        while self.owes(site) == Some(ON_TRIAL) && since.elapsed() < TRIAL {
            tokio::task::yield_now().await;
        }
    }

    /// Notes a run on a thread that nobody waits for.
    pub(crate) fn ran_elsewhere(&self, site: Site, stopwatch: &Stopwatch) {
        match stopwatch.verdict() {
            Some(took) => self.ran(site, took),
            // It has run, but how long that takes is yet to be seen.
            // The same where the run that was to tell did not.
            None if matches!(self.owes(site), None | Some(SUSPECT | ON_TRIAL)) => self.set(site, 1),
            None => {}
        }
    }

    /// Measures a run that begins now on a thread that nobody waits for; what is returned is called at its end. It is exact only where
    /// the site is not known to be quick.
    pub(crate) fn measure(&self, site: Site) -> impl FnOnce() + '_ {
        let stopwatch = (!self.is_quick(site)).then(Stopwatch::start);
        let began = Began::now();
        move || match stopwatch {
            Some(stopwatch) => self.ran_elsewhere(site, &stopwatch),
            None => self.ran_here(site, began),
        }
    }

    /// Notes how long one run took.
    #[inline]
    pub(crate) fn ran(&self, site: Site, took: Duration) {
        let owes = match self.owes(site) {
            Some(SUSPECT | ON_TRIAL) => Some(1),
            owes => owes,
        };
        let owes = match owes {
            Some(ALONE) => return,
            Some(0) if took <= site.quick => return,
            _ if took <= site.quick => owes.unwrap_or(1) - 1,
            // The thread may have slept; and the first run of all prepares its statements.
            _ if took <= SLOW => owes.unwrap_or(0).max(1),
            Some(..DOUBT) => DOUBT,
            _ => (owes.unwrap_or(0) * 2).clamp(DEBT, MOST_DEBT),
        };
        self.set(site, owes);
    }
}

/// Measures one run, so that a thread that was merely not given a processor does not pass for slow.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    since: Instant,
    usage: Option<Usage>,
    /// How much of the time was for others.
    for_others: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { usage: Usage::now(), since: Instant::now(), for_others: Duration::ZERO }
    }

    /// Counts so much of the time for others.
    pub(crate) fn without(self, for_others: Duration) -> Self {
        Self { for_others, ..self }
    }

    /// How long the run took but for the time in which the thread had no processor, if that can be told.
    fn verdict(&self) -> Option<Duration> {
        // Where a part was for others, it can't be told whose fault it is that the rest was long.
        self.took().filter(|took| *took <= QUICK || self.for_others.is_zero())
    }

    fn took(&self) -> Option<Duration> {
        let took = self.since.elapsed().saturating_sub(self.for_others);
        if took <= QUICK {
            return Some(took);
        }
        let (Some(before), Some(now)) = (self.usage, Usage::now()) else { return Some(took) };
        judged(took, now.worked.saturating_sub(before.worked), now.waits != before.waits)
    }
}

/// How long a run took that was not quick by the clock on the wall, by how long its thread worked and whether that waited for something.
/// `None`: that can't be told.
fn judged(took: Duration, worked: Duration, waited: bool) -> Option<Duration> {
    if waited && worked <= SLOW {
        // Short waits are for others who were not given a processor themselves while they held a lock.
        return (took > LONG_WAIT).then_some(took);
    }
    // As long as it had a processor.
    Some(worked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site_of<F: 'static>(_: &F) -> Site {
        Site::of::<F>()
    }

    fn worked(stopwatch: &Stopwatch) -> Duration {
        match (stopwatch.usage, Usage::now()) {
            (Some(before), Some(now)) => now.worked.saturating_sub(before.worked),
            _ => stopwatch.since.elapsed(),
        }
    }

    #[test]
    fn what_counts_is_work_and_long_waits() {
        let short = LONG_WAIT / 2;
        assert_eq!(judged(LONG_WAIT * 9, QUICK, false), Some(QUICK), "it had no processor");
        assert_eq!(judged(LONG_WAIT * 9, SLOW, false), Some(SLOW), "what it did took no longer for that");
        assert_eq!(judged(short, QUICK, true), None);
        assert_eq!(judged(LONG_WAIT * 9, QUICK, true), Some(LONG_WAIT * 9), "it waited for a disk, say");
        assert_eq!(judged(LONG_WAIT * 9, SLOW * 2, true), Some(SLOW * 2));
    }

    #[test]
    fn a_site_is_quick_after_one_quick_run_and_after_many_once_it_was_slow() {
        let sites = Sites::new();
        let (one, other) = (site_of(&|| 1), site_of(&|| 2));
        assert_ne!(one, other, "each closure is a site");
        assert!(!sites.is_quick(one), "nobody knows yet");
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one) && !sites.is_quick(other));
        let mut owed = DEBT;
        for nth in 0..20 {
            sites.ran(one, SLOW * 2);
            assert!(!sites.is_quick(one), "it may have been the machine");
            for _ in 0..=nth {
                sites.ran(one, SLOW * 2);
            }
            for _ in 0..owed {
                assert!(!sites.is_quick(one), "slow for the {nth}th time");
                sites.ran(one, Duration::ZERO);
            }
            assert!(sites.is_quick(one), "all is paid, whatever it was before");
            owed = (owed * 2).min(MOST_DEBT);
        }
    }

    #[test]
    fn a_slow_run_doubles_what_is_still_owed_and_no_more() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, SLOW * 2);
        sites.ran(site, SLOW * 2);
        for _ in 0..DEBT + 10 {
            sites.ran(site, QUICK);
        }
        assert_eq!(sites.owes(site), Some(DEBT - 10));
        sites.ran(site, SLOW * 2);
        assert_eq!(sites.owes(site), Some(DEBT * 2 - 20));
        for _ in 0..DEBT * 2 - 30 {
            sites.ran(site, QUICK);
        }
        sites.ran(site, SLOW * 2);
        assert_eq!(sites.owes(site), Some(DEBT), "but not less than at first");
    }

    #[test]
    fn a_site_whose_first_run_is_slow_is_slow() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, SLOW * 2);
        for _ in 0..DEBT {
            assert!(!sites.is_quick(site));
            sites.ran(site, QUICK);
        }
        assert!(sites.is_quick(site));
    }

    #[test]
    fn a_run_that_is_between_the_limits_keeps_a_site_where_it_is_and_is_not_held_against_it() {
        let sites = Sites::new();
        let (one, other) = (site_of(&|| 1), site_of(&|| 2));
        for _ in 0..100 {
            sites.ran(one, SLOW);
            assert!(!sites.is_quick(one), "nobody has seen it quick");
        }
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one), "they were on threads that slept");
        sites.seems_slow(one, None);
        sites.ran(one, SLOW);
        assert!(!sites.is_quick(one) && !sites.is_on_trial(one), "it is not quick yet, and nobody waits");
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one));
        sites.ran(other, SLOW * 2);
        for _ in 0..DEBT {
            assert!(!sites.is_quick(other));
            sites.ran(other, SLOW);
            sites.ran(other, QUICK);
        }
        assert!(sites.is_quick(other), "what is paid is paid, in a row or not");
    }

    #[test]
    fn a_site_that_has_to_be_alone_stays_so() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        assert!(!sites.is_known(site));
        sites.ran(site, QUICK);
        assert!(sites.is_known(site) && sites.is_quick(site));
        sites.keep_alone(site);
        for _ in 0..1_000_000 {
            sites.ran(site, Duration::ZERO);
        }
        assert!(!sites.is_known(site) && !sites.is_quick(site));
    }

    #[test]
    fn what_seemed_slow_is_measured_elsewhere_once() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, QUICK);
        sites.seems_slow(site, Some(QUICK));
        assert!(sites.is_quick(site), "it had no processor");
        sites.seems_slow(site, Some(QUICK * 2));
        assert!(!sites.is_quick(site), "never twice");
        assert!(!sites.is_on_trial(site), "this one is to tell");
        assert!(sites.is_on_trial(site) && !sites.is_quick(site), "and the others wait for it");
        sites.ran(site, QUICK);
        assert!(!sites.is_on_trial(site), "it has told");
        assert!(sites.is_quick(site), "it was the machine");
        let stopwatch = Stopwatch::start();
        let mut work = 0_u64;
        while worked(&stopwatch) < QUICK * 20 {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        assert!(stopwatch.verdict().is_some_and(|took| took > QUICK), "{work}");
        let stopwatch = Stopwatch::start();
        std::thread::park_timeout(QUICK * 20);
        assert!(stopwatch.verdict().is_some_and(|took| took > QUICK), "who waits is slow");
    }

    #[test]
    fn a_whole_write_has_less_time_than_its_closure() {
        let sites = Sites::new();
        let closure = site_of(&|| 1);
        let whole = closure.whole();
        for site in [closure, whole] {
            sites.ran(site, QUICK);
            assert_eq!(sites.is_quick(site), site == closure);
            sites.ran(site, QUICK_WHOLE);
            assert!(sites.is_quick(site));
            sites.seems_slow(site, Some(QUICK_WHOLE * 2));
            assert_eq!(sites.is_quick(site), site == closure);
            let waits = Began::now();
            std::thread::park_timeout(QUICK_WHOLE * 2);
            sites.ran(site, QUICK_WHOLE);
            sites.ran_here_but_for(site, waits, Duration::ZERO);
            assert!(site == closure || !sites.is_quick(site), "it waited for a disk, say");
        }
    }

    #[test]
    fn a_trial_that_does_not_end_holds_nobody_up_for_long_and_one_without_verdict_frees_all() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, QUICK);
        sites.seems_slow(site, None);
        assert!(!sites.is_on_trial(site) && sites.is_on_trial(site));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(sites.end_of_trial(site));
        assert!(sites.is_on_trial(site), "nobody has told");
        let undecided = Stopwatch::start().without(QUICK);
        while worked(&undecided) <= QUICK * 3 {}
        assert_eq!(undecided.verdict(), None);
        sites.ran_elsewhere(site, &undecided);
        assert!(!sites.is_on_trial(site) && !sites.is_on_trial(site) && !sites.is_quick(site), "each runs elsewhere");
        sites.ran(site, QUICK);
        assert!(sites.is_quick(site));
    }

    #[test]
    fn one_slow_run_of_a_quick_site_is_not_held_against_it_for_long() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, QUICK);
        for _ in 0..10 {
            sites.seems_slow(site, None);
            sites.ran(site, SLOW * 9);
            for _ in 0..DOUBT {
                assert!(!sites.is_quick(site));
                sites.ran(site, QUICK);
            }
            assert!(sites.is_quick(site));
        }
    }

    #[test]
    fn sites_on_one_word_forget_each_other() {
        let sites = Sites::new();
        let (one, other) = (Site { word: 5, tag: 7, quick: QUICK }, Site { word: 5, tag: 9, quick: QUICK });
        sites.ran(one, QUICK);
        sites.ran(other, QUICK * 2);
        assert!(!sites.is_quick(one) && !sites.is_quick(other));
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one) && !sites.is_quick(other));
    }
}
