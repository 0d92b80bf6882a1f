//! How long the closures of each call site take, as far as that decides where they run next time.
//!
//! Every closure expression is a type of its own, so a type names a call site. Owns a table of fixed size in which each
//! site has a word: how often it has to be quick in a row before it counts as quick. It must not know what runs, or where.
//!
//! Invariant: a site counts as quick only if its last measured run was. One slow run of a quick site sends it elsewhere until it was quick
//! there, a second one right after that for long: a machine that is busy makes any run slow now and then. Which it is one run tells, and
//! others wait for that a moment: if all went elsewhere at once, so many threads would make any run slow. Two sites that fall on one
//! word forget each other, which costs a hop to another thread and nothing else.

use std::any::TypeId;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::thread_time::{Began, Usage};

/// What takes longer has no place on a thread that others wait for: about twice what a hop to another thread costs. Tokio asks for no
/// more than 10 to 100 microseconds between two points where a task lets others run.
const QUICK: Duration = Duration::from_micros(100);

/// From here on a wait counts as one for a disk or for another program.
const LONG_WAIT: Duration = Duration::from_millis(1);

/// After a first slow run so many quick ones must follow; twice as many after each further one.
const DEBT: u64 = 32;

/// After a slow run of a site that was quick before, so many.
const DOUBT: u64 = 2;

/// How often the debt is doubled at most.
const MAX_SLOW: u64 = 4;

/// In place of what a site owes: it seemed slow where others wait for the thread, and its next run, elsewhere, tells.
const SUSPECT: u64 = u16::MAX as u64 - 1;

/// In place of what a site owes: that run has begun.
const ON_TRIAL: u64 = u16::MAX as u64 - 2;

/// For so long other runs of the site wait for what that one tells: for about as long as a hop to another thread and back takes.
const TRIAL: Duration = Duration::from_micros(200);

/// In place of how often a site was slow: it must not share a transaction.
const ALONE: u64 = u16::MAX as u64;

const WORDS: usize = 1024;

/// One call site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    word: usize,
    tag: u64,
}

impl Site {
    /// The site of a closure type.
    #[inline]
    pub(crate) fn of<F: 'static>() -> Self {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(TypeId::of::<F>());
        // Never 0, which is the tag of a word that nobody has used.
        Self { word: hash as usize % WORDS, tag: hash >> 32 | 1 }
    }
}

impl Site {
    /// The site of the whole write that the closure of this one is a part of: the transaction and its commit.
    #[inline]
    pub(crate) fn whole(self) -> Self {
        Self { word: (self.word + WORDS / 2) % WORDS, tag: self.tag ^ 2 }
    }
}

/// What is known of the call sites of one database.
#[derive(Debug)]
pub(crate) struct Sites(Box<[AtomicU64]>);

/// A word is the tag (32 bits), how often the site was slow (16 bits) and how many quick runs it still owes (16 bits).
fn word(tag: u64, slow: u64, debt: u64) -> u64 {
    tag << 32 | slow << 16 | debt
}

impl Sites {
    pub(crate) fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn read(&self, site: Site) -> Option<(u64, u64)> {
        // The words order nothing: each stands for itself.
        let word = self.0[site.word].load(Ordering::Relaxed);
        (word >> 32 == site.tag).then_some((word >> 16 & 0xffff, word & 0xffff))
    }

    /// Tells whether the site may run where others wait for the thread. One that was never seen may not.
    #[inline]
    pub(crate) fn is_quick(&self, site: Site) -> bool {
        self.read(site).is_some_and(|(_, debt)| debt == 0)
    }

    /// Tells whether the site has run, and not in a way that keeps it from sharing a transaction.
    pub(crate) fn is_known(&self, site: Site) -> bool {
        self.read(site).is_some_and(|(slow, _)| slow != ALONE)
    }

    /// Notes that the site can harm those it shares a transaction with: it never counts as quick again.
    pub(crate) fn keep_alone(&self, site: Site) {
        self.0[site.word].store(word(site.tag, ALONE, u64::from(u16::MAX)), Ordering::Relaxed);
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
        if began.at.elapsed() > QUICK + for_others {
            self.seems_slow(site, began.worked(for_others));
        }
    }

    /// `worked`: how long it did, at most, if that can be told.
    #[cold]
    fn seems_slow(&self, site: Site, worked: Option<Duration>) {
        if worked.is_none_or(|worked| worked > QUICK)
            && let Some((slow, 0)) = self.read(site)
        {
            self.0[site.word].store(word(site.tag, slow, SUSPECT), Ordering::Relaxed);
        }
    }

    /// Tells whether another run of the site is about to tell whether it is slow. If none is, the caller's is that run.
    #[cold]
    pub(crate) fn is_on_trial(&self, site: Site) -> bool {
        match self.read(site) {
            Some((slow, SUSPECT)) => {
                let (suspect, on_trial) = (word(site.tag, slow, SUSPECT), word(site.tag, slow, ON_TRIAL));
                self.0[site.word].compare_exchange(suspect, on_trial, Ordering::Relaxed, Ordering::Relaxed).is_err()
            }
            Some((_, ON_TRIAL)) => true,
            _ => false,
        }
    }

    /// Lets other tasks run until it has told, but not for long.
    pub(crate) async fn end_of_trial(&self, site: Site) {
        let since = Instant::now();
        while self.read(site).is_some_and(|(_, owes)| owes == ON_TRIAL) && since.elapsed() < TRIAL {
            tokio::task::yield_now().await;
        }
    }

    /// Notes a run on a thread that nobody waits for.
    pub(crate) fn ran_elsewhere(&self, site: Site, stopwatch: &Stopwatch) {
        match stopwatch.verdict() {
            Some(took) => self.ran(site, took),
            // It has run, but how long that takes is yet to be seen.
            None => match self.read(site) {
                None => self.0[site.word].store(word(site.tag, 0, 1), Ordering::Relaxed),
                // The run that was to tell did not.
                Some((slow, SUSPECT | ON_TRIAL)) => self.0[site.word].store(word(site.tag, slow, 1), Ordering::Relaxed),
                Some(_) => {}
            },
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
        let owes = |debt| if matches!(debt, SUSPECT | ON_TRIAL) { 1 } else { debt };
        let known = self.read(site).map(|(slow, debt)| (slow, owes(debt)));
        let next = match known {
            Some((_, 0)) if took <= QUICK => return,
            Some((ALONE, _)) => return,
            Some((slow, debt)) if took > QUICK && debt < DOUBT => (slow, DOUBT),
            _ if took > QUICK => {
                let slow = known.map_or(0, |(slow, _)| slow).min(MAX_SLOW);
                (slow + 1, DEBT << slow)
            }
            Some((slow, debt)) => (slow, debt - 1),
            None => (0, 0),
        };
        self.0[site.word].store(word(site.tag, next.0, next.1), Ordering::Relaxed);
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
        let worked = now.worked.saturating_sub(before.worked);
        if worked > QUICK {
            return Some(took);
        }
        if now.waits > before.waits {
            // Short waits are for others who were not given a processor themselves while they held a lock.
            return (took > LONG_WAIT).then_some(took);
        }
        // It was quick whenever it had a processor.
        Some(worked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site_of<F: 'static>(_: &F) -> Site {
        Site::of::<F>()
    }

    #[test]
    fn a_site_is_quick_after_one_quick_run_and_after_many_once_it_was_slow() {
        let sites = Sites::new();
        let (one, other) = (site_of(&|| 1), site_of(&|| 2));
        assert_ne!(one, other, "each closure is a site");
        assert!(!sites.is_quick(one), "nobody knows yet");
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one) && !sites.is_quick(other));
        for slow in 0..20 {
            sites.ran(one, QUICK * 2);
            assert!(!sites.is_quick(one), "it may have been the machine");
            sites.ran(one, QUICK * 2);
            for _ in 0..DEBT << slow.min(MAX_SLOW) {
                assert!(!sites.is_quick(one), "slow for the {slow}th time");
                sites.ran(one, Duration::ZERO);
            }
            assert!(sites.is_quick(one));
        }
    }

    #[test]
    fn a_site_whose_first_run_is_slow_is_slow() {
        let sites = Sites::new();
        let site = site_of(&|| 1);
        sites.ran(site, QUICK * 2);
        for _ in 0..DEBT {
            assert!(!sites.is_quick(site));
            sites.ran(site, QUICK);
        }
        assert!(sites.is_quick(site));
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
        let worked = |stopwatch: &Stopwatch| match (stopwatch.usage, Usage::now()) {
            (Some(before), Some(now)) => now.worked.saturating_sub(before.worked),
            _ => stopwatch.since.elapsed(),
        };
        while worked(&stopwatch) < QUICK * 20 {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        assert!(stopwatch.verdict().is_some_and(|took| took > QUICK), "{work}");
        let stopwatch = Stopwatch::start();
        std::thread::park_timeout(QUICK * 20);
        assert!(stopwatch.verdict().is_some_and(|took| took > QUICK), "who waits is slow");
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
        while undecided.since.elapsed() <= QUICK * 3 {}
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
            sites.ran(site, QUICK * 9);
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
        let (one, other) = (Site { word: 5, tag: 7 }, Site { word: 5, tag: 9 });
        sites.ran(one, QUICK);
        sites.ran(other, QUICK * 2);
        assert!(!sites.is_quick(one) && !sites.is_quick(other));
        sites.ran(one, QUICK);
        assert!(sites.is_quick(one) && !sites.is_quick(other));
    }
}
