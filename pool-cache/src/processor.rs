//! What is asked of the processor directly: memory that will be needed soon, so that several cache misses pass at the same time, and the
//! comparison of sixteen bytes at once.
//!
//! Owns these two instructions; must not know what the bytes mean. Invariants: a prefetch reads and writes nothing in the sense of the
//! language, so nothing depends on it, and where there is no such instruction it does nothing; a comparison has the same result everywhere.

use std::sync::Arc;

/// Fetches the cache line in which `place` begins.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    hint(std::ptr::from_ref(place).cast());
}

/// Fetches the line of an `Arc`'s counters, which its drop writes.
#[inline]
pub(crate) fn prefetch_counters<T>(shared: &Arc<T>) {
    // The two counters lie before the value.
    hint(Arc::as_ptr(shared).cast::<u8>().wrapping_sub(2 * size_of::<usize>()));
}

/// Tells which of the bytes, the lowest first, are this one: a bit for each.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn equal_bytes(bytes: &u128, byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: what is read are the sixteen bytes of a reference; the instructions are part of SSE2, which every processor of this
    // architecture has.
    unsafe {
        let bytes = _mm_loadu_si128(std::ptr::from_ref(bytes).cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) as u32
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn hint(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction accesses nothing in the sense of the language and never faults, whatever the address; it is part of SSE,
    // which every processor of this architecture has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
}

/// Tells which of the bytes, the lowest first, are this one: a bit for each.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(crate) fn equal_bytes(bytes: &u128, byte: u8) -> u32 {
    equal_one_by_one(bytes, byte)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn hint(_place: *const u8) {}

#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
#[inline]
fn equal_one_by_one(bytes: &u128, byte: u8) -> u32 {
    let places = bytes.to_le_bytes().into_iter().enumerate();
    places.fold(0, |found, (place, other)| found | u32::from(other == byte) << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_compare_the_same_in_one_step_and_one_by_one() {
        let bytes = 0xff00_0102_0002_8001_7f00_ff00_01fe_0100_u128;
        for byte in 0..=u8::MAX {
            assert_eq!(equal_bytes(&bytes, byte), equal_one_by_one(&bytes, byte), "{byte}");
        }
        assert_eq!(equal_bytes(&bytes, 0), 0b0100_1000_0101_0001);
        assert_eq!(equal_bytes(&bytes, 0xff), 0b1000_0000_0010_0000);
    }
}
