//! The database files that SQLite has open for this process, and letting go of those that a forked process inherited.
//!
//! SQLite notes for each file which locks its process has. A child inherits the notes but not the locks, so a connection that it opened on
//! such a file would believe in locks that are not there: the parent could empty or remove the log under it. Closing the inherited
//! file objects, below everything that writes, clears the notes; locks of the parent are no concern of the system calls of a child.
//!
//! Owns the list of open files, the mutexes of SQLite that are held during a fork, and the `unsafe` of both. It must not know what the
//! connections are for. Invariants: a listed file object lives, for it is taken off the list before its connection closes; during a
//! fork no other thread is in the list or in those mutexes.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use crate::fork::{PerProcess, Process};

/// A file object of SQLite that is open.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct File(*mut ffi::sqlite3_file);

// SAFETY: the pointer is only compared, but in a forked process, by the one thread that lets go of it.
unsafe impl Send for File {}

/// The open files and the process that opened each. Not one for each process: it has to be inherited.
static OPEN: Mutex<Vec<(File, Process)>> = Mutex::new(Vec::new());

fn open_files() -> MutexGuard<'static, Vec<(File, Process)>> {
    listed(&OPEN)
}

/// A connection's place in the list. To be dropped before the connection closes.
#[derive(Debug)]
pub(crate) struct Listed(Option<File>);

// SAFETY: see `File`.
unsafe impl Sync for Listed {}

impl Listed {
    /// Lists the file that a connection has just opened.
    pub(crate) fn file_of(connection: &rusqlite::Connection) -> Self {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is open, and this opcode stores one pointer:
        // https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlfilepointer
        let code = unsafe {
            let opcode = ffi::SQLITE_FCNTL_FILE_POINTER;
            ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), opcode, (&raw mut file).cast::<c_void>())
        };
        if code != ffi::SQLITE_OK || file.is_null() {
            return Self(None);
        }
        open_files().push((File(file), Process::this()));
        Self(Some(File(file)))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            open_files().retain(|(listed, _)| *listed != file);
        }
    }
}

/// The mutexes of SQLite that opening a connection, allocating and chance go through, in the order in which SQLite takes them:
/// <https://www.sqlite.org/c3ref/c_mutex_fast.html>
const MUTEXES: [c_int; 7] = [
    ffi::SQLITE_MUTEX_STATIC_OPEN,
    ffi::SQLITE_MUTEX_STATIC_MAIN,
    ffi::SQLITE_MUTEX_STATIC_VFS1,
    ffi::SQLITE_MUTEX_STATIC_LRU,
    ffi::SQLITE_MUTEX_STATIC_PMEM,
    ffi::SQLITE_MUTEX_STATIC_PRNG,
    ffi::SQLITE_MUTEX_STATIC_MEM,
];

type Held = MutexGuard<'static, Vec<(File, Process)>>;

thread_local! {
    /// What this thread holds while it forks.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Keeps all other threads out, before a fork.
pub(crate) fn hold() {
    // A thread that forks while it ends keeps nobody out.
    let _ = HELD.try_with(|held| {
        *held.borrow_mut() = Some(open_files());
        for mutex in MUTEXES {
            // SAFETY: SQLite is initialized, for a connection was opened; static mutexes are never freed, and this thread has none of them.
            unsafe { ffi::sqlite3_mutex_enter(ffi::sqlite3_mutex_alloc(mutex)) };
        }
    });
}

/// Lets them in again, after the fork, in both processes.
pub(crate) fn release() {
    let _ = HELD.try_with(|held| {
        if let Some(files) = held.borrow_mut().take() {
            for mutex in MUTEXES.into_iter().rev() {
                // SAFETY: this thread entered it in `hold`.
                unsafe { ffi::sqlite3_mutex_leave(ffi::sqlite3_mutex_alloc(mutex)) };
            }
            drop(files);
        }
    });
}

/// How long letting go may take: another thread of the parent may have been in the middle of a lock, for ever, as seen from here.
const PATIENCE: Duration = Duration::from_secs(2);

/// The thread of this process that closes inherited files.
#[derive(Default)]
struct Closer {
    running: Mutex<bool>,
    ended: Condvar,
}

static CLOSER: PerProcess<Closer> = PerProcess::new();

/// Lets go of all files that another process has opened. False: it can't be done, so far.
///
/// Their connections must not be used any more, and are not: each refuses.
pub(crate) fn let_go() -> bool {
    close_inherited(&OPEN, || CLOSER.get(), PATIENCE)
}

fn listed(files: &Mutex<Vec<(File, Process)>>) -> MutexGuard<'_, Vec<(File, Process)>> {
    // A push or a removal can't leave it in between.
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_inherited(files: &Mutex<Vec<(File, Process)>>) -> Option<File> {
    listed(files).iter().find(|(_, process)| process.is_gone()).map(|(file, _)| *file)
}

/// Waits until the files of other processes are closed, which a thread of its own does: closing may never return. A file stays on the list
/// until it is closed, so that whoever comes later is not let through before, either.
fn close_inherited(
    files: &'static Mutex<Vec<(File, Process)>>,
    closer: impl FnOnce() -> &'static Closer,
    patience: Duration,
) -> bool {
    if first_inherited(files).is_none() {
        return true;
    }
    let closer = closer();
    let mut running = closer.running.lock().unwrap_or_else(PoisonError::into_inner);
    if !*running {
        let work = move || {
            while let Some(file) = first_inherited(files) {
                // SAFETY: it was listed when the process was forked, so it lived, and nobody else closes it here: what was inherited is
                // leaked, and there is one such thread at a time.
                unsafe { close(file.0) };
                listed(files).retain(|(other, _)| *other != file);
            }
            *closer.running.lock().unwrap_or_else(PoisonError::into_inner) = false;
            closer.ended.notify_all();
        };
        *running = std::thread::Builder::new().name("pool-forked".to_owned()).spawn(work).is_ok();
    }
    let _ended = closer.ended.wait_timeout_while(running, patience, |running| *running);
    first_inherited(files).is_none()
}

/// Closes a file object, but not the memory it shares with the parent, which statements may still look at.
///
/// # Safety
///
/// `file` is open, and no other thread uses it.
unsafe fn close(file: *mut ffi::sqlite3_file) {
    // SAFETY: as the caller promises; what is closed is given methods that fail, so that it is neither used nor closed again.
    unsafe {
        if let Some(methods) = (*file).pMethods.as_ref()
            && let Some(close) = methods.xClose
        {
            close(file);
        }
        (*file).pMethods = &raw const CLOSED;
    }
}

/// The methods of a file that was let go of: each fails, and touches nothing.
static CLOSED: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(closed::one),
    xRead: Some(closed::read),
    xWrite: Some(closed::write),
    xTruncate: Some(closed::truncate),
    xSync: Some(closed::number),
    xFileSize: Some(closed::size),
    xLock: Some(closed::number),
    xUnlock: Some(closed::number),
    xCheckReservedLock: Some(closed::answer),
    xFileControl: Some(closed::control),
    xSectorSize: Some(closed::one),
    xDeviceCharacteristics: Some(closed::one),
    xShmMap: Some(closed::map),
    xShmLock: Some(closed::shared_lock),
    xShmBarrier: Some(closed::barrier),
    xShmUnmap: Some(closed::number),
    xFetch: Some(closed::fetch),
    xUnfetch: Some(closed::unfetch),
};

/// Methods that fail, one for each signature.
mod closed {
    use std::ffi::{c_int, c_void};

    use rusqlite::ffi::{SQLITE_IOERR, sqlite3_file, sqlite3_int64};

    type File = *mut sqlite3_file;

    pub(super) unsafe extern "C" fn one(_: File) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn number(_: File, _: c_int) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn read(_: File, _: *mut c_void, _: c_int, _: sqlite3_int64) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn write(_: File, _: *const c_void, _: c_int, _: sqlite3_int64) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn truncate(_: File, _: sqlite3_int64) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn size(_: File, _: *mut sqlite3_int64) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn answer(_: File, _: *mut c_int) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn control(_: File, _: c_int, _: *mut c_void) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn map(_: File, _: c_int, _: c_int, _: c_int, _: *mut *mut c_void) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn shared_lock(_: File, _: c_int, _: c_int, _: c_int) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn barrier(_: File) {}

    pub(super) unsafe extern "C" fn fetch(_: File, _: sqlite3_int64, _: c_int, _: *mut *mut c_void) -> c_int {
        SQLITE_IOERR
    }

    pub(super) unsafe extern "C" fn unfetch(_: File, _: sqlite3_int64, _: *mut c_void) -> c_int {
        SQLITE_IOERR
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_int;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use rusqlite::ffi;

    use super::{CLOSED, Closer, File, Process, close_inherited};
    use crate::fork::PerProcess;

    static MAY_CLOSE: AtomicBool = AtomicBool::new(false);

    unsafe extern "C" fn hangs(_: *mut ffi::sqlite3_file) -> c_int {
        while !MAY_CLOSE.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        ffi::SQLITE_OK
    }

    static HANGING: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods { xClose: Some(hangs), ..CLOSED };

    #[test]
    fn nobody_is_let_through_while_an_inherited_file_is_not_closed_however_often_it_is_tried() {
        static FILES: Mutex<Vec<(File, Process)>> = Mutex::new(Vec::new());
        static THREAD: PerProcess<Closer> = PerProcess::new();
        let file = Box::leak(Box::new(ffi::sqlite3_file { pMethods: &raw const HANGING }));
        FILES.lock().unwrap().push((File(file), Process::another()));
        for _ in 0..3 {
            assert!(!close_inherited(&FILES, || THREAD.get(), Duration::from_millis(1)));
        }
        MAY_CLOSE.store(true, Ordering::Relaxed);
        assert!(close_inherited(&FILES, || THREAD.get(), Duration::from_secs(60)));
        assert!(FILES.lock().unwrap().is_empty());
    }
}
