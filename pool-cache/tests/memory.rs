//! What an entry costs over its key and its value, counted at the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_cache::TtlCache;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ENTRIES: usize = 100_000;
/// A `u64` key (8), the pointer to the value (8), and the value with the counts of its `Arc` (24).
const KEY_AND_VALUE: usize = 40;

/// One test alone in this file: others would allocate meanwhile.
#[test]
fn an_entry_costs_no_more_than_the_documentation_says() {
    let before = TAKEN.load(Ordering::Relaxed);
    let cache = TtlCache::<u64, u64>::builder()
        .max_entries(ENTRIES)
        .shards(8)
        .default_ttl(Duration::from_secs(3600))
        .build()
        .unwrap();
    let cost = || (TAKEN.load(Ordering::Relaxed) - before) / ENTRIES - KEY_AND_VALUE;
    (0..ENTRIES as u64).for_each(|i| _ = cache.insert(i, i));
    let full = cost();
    (0..3 * ENTRIES as u64).for_each(|i| _ = cache.insert(i, i));
    let used = cost();
    assert_eq!(cache.len(), ENTRIES);
    assert!(full <= 80, "{full} bytes when just full");
    assert!(used <= 104, "{used} bytes after many evictions");
}
