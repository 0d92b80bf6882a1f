//! How many bytes a cached result takes, as far as that can be known.
//!
//! Owns the estimate. Rust tells the size of a value but not what it owns on the heap, so that is known here for the usual types, and told
//! by the program for its own. It must not know the cache. Invariant: an estimate is never below the size of the value itself.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::mem::size_of_val;
use std::sync::Arc;

use parking_lot::RwLock;

/// Tells how many bytes a value owns on the heap; `None` for a value of another type than it knows.
type Owned = dyn Fn(&(dyn Any + Send + Sync)) -> Option<u64> + Send + Sync;

/// What a program has told about its types.
#[derive(Clone, Default)]
pub(crate) struct Weights(HashMap<TypeId, (&'static str, Arc<Owned>)>);

impl Weights {
    /// Takes note of how much values of a type own; the latest for a type counts.
    pub(crate) fn tell<T: Any>(&mut self, owned: impl Fn(&T) -> usize + Send + Sync + 'static) {
        let owned: Arc<Owned> = Arc::new(move |value| value.downcast_ref().map(|value| bytes(owned(value))));
        self.0.insert(TypeId::of::<T>(), (type_name::<T>(), owned));
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values().map(|(name, _)| name)).finish()
    }
}

/// Weighs results.
#[derive(Debug, Default)]
pub(crate) struct Scales(RwLock<Weights>);

impl Scales {
    /// Adds what another manager of the same database tells.
    pub(crate) fn learn(&self, weights: Weights) {
        if !weights.0.is_empty() {
            self.0.write().0.extend(weights.0);
        }
    }

    /// Estimates the bytes of a result: the value itself and what it is known to own.
    pub(crate) fn weigh(&self, value: &(dyn Any + Send + Sync)) -> u64 {
        let told = self.0.read().0.get(&value.type_id()).map(|(_, owned)| Arc::clone(owned));
        let owned = told.and_then(|owned| owned(value)).or_else(|| owned_by_usual(value));
        bytes(size_of_val(value)).saturating_add(owned.unwrap_or(0))
    }
}

/// What values of the usual types own on the heap.
fn owned_by_usual(value: &(dyn Any + Send + Sync)) -> Option<u64> {
    macro_rules! one_of {
        ($($type:ty: $owned:expr;)+) => {
            $(if let Some(value) = value.downcast_ref::<$type>() {
                let owned: fn(&$type) -> usize = $owned;
                return Some(bytes(owned(value)));
            })+
        };
    }
    one_of! {
        String: String::capacity;
        Option<String>: |text| text.as_ref().map_or(0, String::capacity);
        Vec<u8>: Vec::capacity;
        Vec<i32>: |rows| rows.capacity() * 4;
        Vec<i64>: |rows| rows.capacity() * 8;
        Vec<u64>: |rows| rows.capacity() * 8;
        Vec<f64>: |rows| rows.capacity() * 8;
        Vec<String>: |rows| own(rows) + rows.iter().map(String::capacity).sum::<usize>();
        Vec<Option<String>>: |rows| own(rows) + rows.iter().flatten().map(String::capacity).sum::<usize>();
        Vec<(i64, String)>: |rows| own(rows) + rows.iter().map(|(_, text)| text.capacity()).sum::<usize>();
        Vec<(String, i64)>: |rows| own(rows) + rows.iter().map(|(text, _)| text.capacity()).sum::<usize>();
        Vec<(String, String)>: |rows| own(rows) + rows.iter().map(|(a, b)| a.capacity() + b.capacity()).sum::<usize>();
        Vec<Vec<u8>>: |rows| own(rows) + rows.iter().map(Vec::capacity).sum::<usize>();
        serde_json::Value: owned_by_json;
        Vec<serde_json::Value>: |rows| own(rows) + rows.iter().map(owned_by_json).sum::<usize>();
    }
    None
}

fn own<T>(rows: &Vec<T>) -> usize {
    rows.capacity() * size_of::<T>()
}

fn owned_by_json(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::String(text) => text.capacity(),
        Value::Array(rows) => own(rows) + rows.iter().map(owned_by_json).sum::<usize>(),
        // A tree's nodes are a little larger than what is in them.
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + name.capacity() + size_of::<Value>() + owned_by_json(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_weighs_itself_and_what_it_is_known_to_own() {
        struct City(String);
        let scales = Scales::default();
        assert_eq!(scales.weigh(&7_i64), 8);
        assert_eq!(scales.weigh(&String::from("x").repeat(100)), 24 + 100);
        assert_eq!(scales.weigh(&vec![0_i64; 50]), 24 + 400);
        assert_eq!(scales.weigh(&vec!["x".repeat(10), "y".repeat(20)]), 24 + 2 * 24 + 30);
        assert_eq!(scales.weigh(&serde_json::json!("abc")), bytes(size_of::<serde_json::Value>()) + 3);
        let city = City("x".repeat(1_000));
        assert_eq!(scales.weigh(&city), 24, "what it owns is not known");
        let mut weights = Weights::default();
        weights.tell(|city: &City| city.0.capacity());
        scales.learn(weights);
        assert_eq!(scales.weigh(&city), 24 + 1_000);
    }
}
