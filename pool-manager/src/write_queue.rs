//! The queue of those who know beforehand that they will write, and who works it off. First come first served, within one priority.
//!
//! Owns the order of writes and the *lead*: at any time at most one caller, or one thread in the name of the callers, works the queue
//! off. Closures that can be moved to another thread wait here as [`Job`]s, so that whoever has the lead can run many of them in one
//! transaction; a thread whose closure may borrow from it waits for the lead itself. It must not know connections or SQL.
//!
//! Invariants: if anything waits, somebody has the lead; a job is answered exactly once, whatever becomes of those who run it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_config::WorkPlacement;

use crate::lane::{NoTurn, Turn, TurnQueue};
use crate::priority::{Line, Place, Priority};
use crate::session::{Session, Ticket};
use crate::sites::Site;
use crate::transaction::{Transaction, TransactionKind};

/// A write that waits in the queue; see [`job`](crate::job).
pub(crate) trait Job: Send + Sync {
    /// `Some`: in a transaction of its own, which begins like this.
    fn own_transaction(&self) -> Option<TransactionKind>;
    fn site(&self) -> Site;
    fn priority(&self) -> Priority;
    /// Where its caller wants it to run, if that is not left to the setting.
    fn placement(&self) -> Option<WorkPlacement>;
    /// Whether it still waits to be run: its caller may have given it up.
    fn is_waiting(&self) -> bool;
    /// Lets its caller interrupt this use, which is about to wait on its behalf. False: it was given up already.
    fn claim(&self, session: &Arc<Session>, ticket: Ticket) -> bool;
    /// Runs it. With `may_interrupt` its caller interrupts the use of this ticket when it goes away.
    fn run(&self, transaction: &Transaction<'_>, session: &Arc<Session>, ticket: Ticket, may_interrupt: bool) -> Ran;
    /// Tells its caller what came of it, after it ran: what it returned, or `failed` if that is not in the database after all.
    fn answer(&self, failed: Option<crate::Error>);
    /// Tells its caller why it will not run.
    fn refuse(&self, error: crate::Error);
    /// Since when it is in the queue.
    fn waited(&self) -> Duration;
    /// Where a thread can be had on which the queue is worked off.
    fn runtime(&self) -> Option<&tokio::runtime::Handle>;
    /// Where its caller waits, if that is a thread, which can work the queue off itself.
    fn seat(&self) -> Option<&Seat>;
}

/// What became of a job that was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It succeeded, and what it wrote is to be committed.
    Keep,
    /// It failed, and what it wrote is to be undone.
    Undo,
    /// It was given up before it began.
    Not,
}

impl Ran {
    pub(crate) const fn of<T, E, P>(outcome: &Result<Result<T, E>, P>) -> Self {
        if matches!(outcome, Ok(Ok(_))) { Self::Keep } else { Self::Undo }
    }
}

/// One who waits.
enum Entry {
    Job(Arc<dyn Job>),
    Seat(Arc<Seat>),
}

impl Entry {
    fn into_job(self) -> Arc<dyn Job> {
        let Self::Job(job) = self else { panic!("BUG: it is a job") };
        job
    }
}

/// A job that was taken out of the queue, with its place, so that it can be put back.
pub(crate) type Taken = Place<Arc<dyn Job>>;

/// What comes next.
pub(crate) enum Next {
    Job(Taken),
    /// The lead has passed to a thread that waited for it, or there is nothing left and nobody has it.
    Over,
}

/// A thread that waits for the lead, or for the answer to its job and takes the lead if that comes first.
#[derive(Debug)]
pub(crate) struct Seat {
    state: Mutex<SeatState>,
    thread: Thread,
}

#[derive(Debug, PartialEq, Eq)]
enum SeatState {
    Waiting,
    Granted,
    GaveUp,
}

impl Seat {
    /// A seat for the calling thread.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(SeatState::Waiting), thread: std::thread::current() }
    }

    /// Takes the lead, if it was given; it is not given twice.
    pub(crate) fn take_lead(&self) -> bool {
        let mut state = self.state.lock();
        let granted = *state == SeatState::Granted;
        if granted {
            *state = SeatState::Waiting;
        }
        granted
    }

    /// Waits no longer. True: the lead was given meanwhile, and is this thread's to pass on.
    pub(crate) fn leave(&self) -> bool {
        std::mem::replace(&mut *self.state.lock(), SeatState::GaveUp) == SeatState::Granted
    }

    /// Gives it the lead; false when it has gone.
    fn grant(&self) -> bool {
        let mut state = self.state.lock();
        if *state == SeatState::GaveUp {
            return false;
        }
        *state = SeatState::Granted;
        drop(state);
        self.thread.unpark();
        true
    }
}

/// How a thread waits that looks now and then whether it is needed itself: at first soon, then ever less often.
#[derive(Debug)]
pub(crate) struct Patience(Duration);

impl Patience {
    const FIRST: Duration = Duration::from_millis(5);
    const LAST: Duration = Duration::from_secs(1);

    pub(crate) const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// Parks the thread for `limit` at most. True: it is time to look.
    pub(crate) fn park(&mut self, limit: Duration) -> bool {
        let since = Instant::now();
        std::thread::park_timeout(limit.min(self.0));
        let is_over = since.elapsed() >= self.0;
        if is_over {
            self.0 = (self.0 * 2).min(Self::LAST);
        }
        is_over
    }
}

/// How often the other tasks of a worker may run before a transaction begins, as long as more come who write.
const YIELDS: u32 = 2;

/// For how long.
const GATHERING: Duration = Duration::from_micros(200);

struct Queue {
    entries: Line<Entry>,
    /// Whether somebody has the lead.
    led: bool,
    /// Whether the lead is on its way to a task or a thread of a runtime, which may have none to spare. Whoever takes it first has it.
    sent: bool,
    closed: bool,
}

/// The queue of one pool.
pub(crate) struct WriteQueue {
    queue: Mutex<Queue>,
    waiting: AtomicUsize,
    /// Whether the last transaction held more than one write, so that those who write now may expect company.
    company: AtomicBool,
    served: AtomicU64,
    /// In nanoseconds.
    waited: AtomicU64,
    /// Whose one turn is taken for ever: to wait for a turn is to wait for the time to pass, by the clock that time-outs go by.
    time: TurnQueue,
    _taken: Turn,
}

impl std::fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteQueue").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl WriteQueue {
    pub(crate) fn new() -> Self {
        let time = TurnQueue::new(1);
        let taken = time.turn_blocking(Duration::ZERO).unwrap_or_else(|_| panic!("BUG: nobody else has this turn"));
        Self {
            queue: Mutex::new(Queue { entries: Line::default(), led: false, sent: false, closed: false }),
            waiting: AtomicUsize::new(0),
            company: AtomicBool::new(false),
            served: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            time,
            _taken: taken,
        }
    }

    /// Takes the lead if nobody has it and nobody waits.
    pub(crate) fn try_lead(&self) -> Result<bool, NoTurn> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(NoTurn::Closed);
        }
        Ok(!std::mem::replace(&mut queue.led, true))
    }

    /// Adds a job before all others, for who has the lead.
    pub(crate) fn push_first(&self, job: Arc<dyn Job>) -> Result<(), NoTurn> {
        let priority = job.priority();
        self.put_back(Place::new(job, priority))
    }

    /// Puts a job back that could not begin, for who has the lead.
    pub(crate) fn put_back(&self, taken: Taken) -> Result<(), NoTurn> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(NoTurn::Closed);
        }
        queue.entries.put_first(taken.map(Entry::Job));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a job. `Ok(true)`: the caller has the lead now, and has to see that the queue is worked off.
    pub(crate) fn push(&self, job: Arc<dyn Job>) -> Result<bool, NoTurn> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(NoTurn::Closed);
        }
        let priority = job.priority();
        queue.entries.join(Entry::Job(job), priority);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(!std::mem::replace(&mut queue.led, true))
    }

    /// Puts the lead on its way, for who has it.
    pub(crate) fn send_lead(&self) {
        self.queue.lock().sent = true;
    }

    /// Takes the lead if it is on its way.
    pub(crate) fn take_sent_lead(&self) -> bool {
        std::mem::take(&mut self.queue.lock().sent)
    }

    /// Waits on the calling thread for the lead. When that takes long and the lead is on its way to a thread that does not come, this
    /// one takes it and calls `work_off`, which ends when the lead has passed to somebody.
    pub(crate) fn lead_blocking(&self, limit: Duration, priority: Priority, work_off: impl Fn()) -> Result<(), NoTurn> {
        let since = Instant::now();
        let seat = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Err(NoTurn::Closed);
            }
            if !std::mem::replace(&mut queue.led, true) {
                self.count(Duration::ZERO);
                return Ok(());
            }
            let seat = Arc::new(Seat::new());
            queue.entries.join(Entry::Seat(Arc::clone(&seat)), priority);
            self.waiting.fetch_add(1, Ordering::Relaxed);
            seat
        };
        let mut patience = Patience::new();
        loop {
            let waited = since.elapsed();
            {
                let mut state = seat.state.lock();
                match *state {
                    SeatState::Granted => {
                        self.count(waited);
                        return Ok(());
                    }
                    SeatState::GaveUp => return Err(NoTurn::Closed),
                    SeatState::Waiting if waited >= limit => {
                        *state = SeatState::GaveUp;
                        return Err(NoTurn::TimedOut(waited));
                    }
                    SeatState::Waiting => {}
                }
            }
            if patience.park(limit - waited) && self.take_sent_lead() {
                work_off();
            }
        }
    }

    /// Waits until the time is up, or the queue is closed.
    pub(crate) async fn time_out(&self, limit: Duration) -> NoTurn {
        match self.time.turn(limit).await {
            Ok(_) => panic!("BUG: this turn is taken for ever"),
            Err(reason) => reason,
        }
    }

    /// Takes the next job, for whoever has the lead. Without one the lead is given up; it goes to a thread if that is next.
    pub(crate) fn next(&self) -> Next {
        let mut queue = self.queue.lock();
        loop {
            let Some(place) = queue.entries.pop_front() else {
                queue.led = false;
                return Next::Over;
            };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match &place.entry {
                Entry::Seat(seat) if seat.grant() => return Next::Over,
                Entry::Job(job) if job.is_waiting() => return Next::Job(place.map(Entry::into_job)),
                _ => {}
            }
        }
    }

    /// Tells whether anybody waits; who comes this very moment may be missed.
    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Lets other tasks run until those that write have joined, but not for long.
    pub(crate) async fn gather(&self) {
        let since = Instant::now();
        let mut before = self.waiting.load(Ordering::Relaxed);
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
            let waiting = self.waiting.load(Ordering::Relaxed);
            if waiting <= before || since.elapsed() > GATHERING {
                return;
            }
            before = waiting;
        }
    }

    /// Notes whether a transaction held more than one write.
    #[inline]
    pub(crate) fn note_company(&self, company: bool) {
        // It orders nothing.
        if self.has_company() != company {
            self.company.store(company, Ordering::Relaxed);
        }
    }

    /// Tells whether others are likely to come who write.
    #[inline]
    pub(crate) fn has_company(&self) -> bool {
        self.company.load(Ordering::Relaxed)
    }

    /// Takes the next job if it is one that `fits`; the lead stays where it is.
    pub(crate) fn next_if(&self, fits: impl Fn(&dyn Job) -> bool) -> Option<Taken> {
        let mut queue = self.queue.lock();
        loop {
            match queue.entries.front()? {
                Entry::Seat(_) => return None,
                Entry::Job(job) if job.is_waiting() && !fits(&**job) => return None,
                Entry::Job(_) => {}
            }
            let taken = queue.entries.pop_front()?.map(Entry::into_job);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if taken.entry.is_waiting() {
                return Some(taken);
            }
        }
    }

    /// The job that is next, for who gives the lead up: somebody has to be found to run it. `None`: a thread that waits has the lead now,
    /// or nobody, for nobody waits.
    pub(crate) fn pass_on(&self) -> Option<Arc<dyn Job>> {
        let mut queue = self.queue.lock();
        loop {
            match queue.entries.front() {
                None => {
                    queue.led = false;
                    return None;
                }
                Some(Entry::Job(job)) if job.is_waiting() => match job.seat() {
                    None => return Some(Arc::clone(job)),
                    Some(seat) if seat.grant() => return None,
                    Some(_) => {}
                },
                Some(Entry::Job(_)) => {}
                Some(Entry::Seat(seat)) => {
                    if seat.grant() {
                        queue.entries.pop_front();
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        return None;
                    }
                }
            }
            queue.entries.pop_front();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes how long one waited who is served now.
    pub(crate) fn count(&self, waited: Duration) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many wait, how many were served, and how long those waited.
    pub(crate) fn figures(&self) -> (usize, u64, Duration) {
        let waited = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        (self.waiting.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed), waited)
    }

    /// Tells everybody who waits, and everybody who comes later, that no write will run any more. Who has the lead keeps it.
    pub(crate) fn close(&self, closed: impl Fn() -> crate::Error) {
        let entries = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.entries)
        };
        self.turn_away(entries, closed);
    }

    /// Tells everybody who waits that nobody can be found to run their writes. The lead is given up.
    pub(crate) fn refuse_all(&self, error: impl Fn() -> crate::Error) {
        let entries = {
            let mut queue = self.queue.lock();
            queue.led = false;
            std::mem::take(&mut queue.entries)
        };
        self.turn_away(entries, error);
    }

    fn turn_away(&self, entries: Line<Entry>, error: impl Fn() -> crate::Error) {
        self.waiting.fetch_sub(entries.len(), Ordering::Relaxed);
        for entry in entries.into_entries() {
            match entry {
                Entry::Job(job) => job.refuse(error()),
                Entry::Seat(seat) => {
                    *seat.state.lock() = SeatState::GaveUp;
                    seat.thread.unpark();
                }
            }
        }
    }
}
