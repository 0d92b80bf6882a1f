//! The first bytes of the wal-index: ten nanoseconds to see whether anybody, in any process, has committed.
//!
//! In WAL mode the header of the wal-index changes with every commit (<https://www.sqlite.org/walformat.html>, section 2.1): the
//! first copy of the header, 48 bytes, is written last, so whoever has seen a new commit finds it changed. SQLite has that
//! memory mapped already; this module asks it where, and reads it.
//!
//! Owns the `unsafe` of that. Invariant: a `WalIndex` is only read while the connection it came from is open and in WAL mode,
//! which `anchor` guarantees by owning both; a connection in WAL mode keeps a shared lock, so no other connection can switch the
//! mode under it. The `-shm` file is never opened here: closing any descriptor of it would drop this process' locks.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use rusqlite::ffi;

/// The header's first copy as it was at one moment, two of its numbers in each word: with every hit all of them are compared.
pub(crate) type Header = [u64; 6];

/// One of the twelve numbers of a header, in the order of the machine as all of the wal-index.
const fn number(header: &Header, at: usize) -> u32 {
    let [a, b, c, d, e, f, g, h] = header[at / 2].to_ne_bytes();
    u32::from_ne_bytes(if at.is_multiple_of(2) { [a, b, c, d] } else { [e, f, g, h] })
}

/// How many commits a header counts, modulo 2^32: `iChange` in wal.c. A recovery begins at zero again.
pub(crate) const fn commits(header: &Header) -> u32 {
    number(header, 2)
}

/// The size of the wal-index' regions that SQLite maps (`WALINDEX_PGSZ` in wal.c).
const REGION_SIZE: c_int = 32 * 1024;

/// The mapped header of one database's wal-index.
#[derive(Debug)]
pub(crate) struct WalIndex(NonNull<[AtomicU64; 6]>);

// SAFETY: the memory is shared between processes and only ever read here, with atomic loads.
unsafe impl Send for WalIndex {}
// SAFETY: as above.
unsafe impl Sync for WalIndex {}

impl WalIndex {
    /// Finds the mapped header. The connection must be in WAL mode and have read once; `None` where the VFS has no such memory.
    pub(crate) fn of(connection: &rusqlite::Connection) -> Option<Self> {
        // SAFETY: the handle is open.
        unsafe { Self::of_schema(connection.handle(), c"main") }
    }

    /// The same for any database of a connection.
    ///
    /// # Safety
    ///
    /// The connection is open, and used by nobody else meanwhile.
    pub(crate) unsafe fn of_schema(connection: *mut ffi::sqlite3, schema: &CStr) -> Option<Self> {
        let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: the handle is open, and this opcode stores one pointer:
        // https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlfilepointer
        let code = unsafe {
            ffi::sqlite3_file_control(
                connection,
                schema.as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast::<c_void>(),
            )
        };
        if code != ffi::SQLITE_OK || file.is_null() {
            return None;
        }
        // SAFETY: SQLite handed out a live file object; its method table may be null for a file that is not open.
        let methods = unsafe { (*file).pMethods.as_ref()? };
        if methods.iVersion < 2 {
            return None;
        }
        let map = methods.xShmMap?;
        let mut region: *mut c_void = std::ptr::null_mut();
        // SAFETY: the arguments SQLite itself uses for the first region (walIndexPage in wal.c); 0 means "do not extend".
        let code = unsafe { map(file, 0, REGION_SIZE, 0, (&raw mut region).cast()) };
        if code != ffi::SQLITE_OK {
            return None;
        }
        NonNull::new(region.cast()).map(Self)
    }

    /// Tells how many pages the database file has at least, where that can be told: while all of the log is in it, nobody makes it shorter.
    ///
    /// `look` is called in between, and whatever it found goes with the number.
    pub(crate) fn settled_pages<T>(&self, look: impl FnOnce() -> T) -> (Option<u32>, T) {
        let before = (self.read(), self.backfilled());
        let found = look();
        let settled = (self.read(), self.backfilled()) == before && before.1 == number(&before.0, 4);
        // `nPage` and `mxFrame` of the header: https://www.sqlite.org/walformat.html, section 2.1.
        (settled.then_some(number(&before.0, 5)), found)
    }

    /// How many frames of the log are in the database file: `nBackfill`, behind the two copies of the header.
    fn backfilled(&self) -> u32 {
        // SAFETY: as in `read`; the number lies in the same region, at an offset of 96 bytes.
        let backfilled = unsafe { &*self.0.as_ptr().cast::<AtomicU32>().add(24) };
        // Acquire: stored by a checkpoint after it has written and cut the file.
        backfilled.load(Ordering::Acquire)
    }

    /// Tells whether the other one is mapped at the same place.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Reads the header. It may be torn by a commit under way: then it equals neither the old nor the new one.
    #[inline]
    pub(crate) fn read(&self) -> Header {
        // SAFETY: see the module's invariant; the region is page-aligned and larger than the header.
        let words = unsafe { self.0.as_ref() };
        let header = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
        // Nothing that is read after this may have happened before it: partner of the barrier in walIndexWriteHdr.
        fence(Ordering::Acquire);
        header
    }
}
