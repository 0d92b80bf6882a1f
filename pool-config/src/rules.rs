//! Rules between keys: which values do not fit together, and which are allowed but probably not meant.
//!
//! Owns the rules; it must not know layers or sources.
//! Invariant: every rule sees the merged values, never those of a single layer.

use std::collections::BTreeSet;

use crate::error::Problem;
use crate::key::Key;
use crate::layer::{Setting, Settled};
use crate::origin::Origin;
use crate::value::Value;

/// Settings that are allowed and yet probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A setting of something that is switched off.
    WithoutEffect {
        /// The key that does nothing.
        key: Key,
        /// What it is set to.
        setting: Setting,
        /// The key that is off or `never`.
        switch: Key,
        /// What that one is set to.
        switch_value: Value,
        /// Where the switch was turned off.
        switch_origin: Origin,
    },
    /// Connections may stay idle longer than `idle_timeout`, because the reaper looks less often.
    LateReaping {
        /// The setting of `idle_timeout`.
        idle_timeout: Setting,
        /// The setting of `reap_interval`.
        reap_interval: Setting,
    },
}

impl Warning {
    /// Returns the name of the warning, for those who filter.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Warning::WithoutEffect { .. } => "without_effect",
            Warning::LateReaping { .. } => "late_reaping",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Warning::WithoutEffect { key, setting: Setting { value, origin }, switch, switch_value, switch_origin } => {
                write!(
                    formatter,
                    "{key} = {value}, from {origin}, has no effect: {switch} = {switch_value}, from {switch_origin}"
                )
            }
            Warning::LateReaping { idle_timeout, reap_interval } => write!(
                formatter,
                "idle_timeout = {}, from {}, is shorter than reap_interval = {}, from {}: \
                 connections may stay idle for the sum of both",
                idle_timeout.value, idle_timeout.origin, reap_interval.value, reap_interval.origin
            ),
        }
    }
}

fn at(settled: &[Settled], key: Key) -> &Setting {
    &settled[key as usize].holds
}

/// Pairs whose first key must not be above the second.
const AT_MOST: &[(Key, Key)] =
    &[(Key::MinConnections, Key::MaxConnections), (Key::StatementWarmCount, Key::StatementCacheSize)];

/// Keys that matter only while another one is on, or is not `never`.
const SWITCHED_BY: &[(Key, Key)] = &[
    (Key::AgeJitter, Key::MaxConnectionAge),
    (Key::ValidateAfterIdle, Key::EnableHealthChecks),
    (Key::StatementCacheSize, Key::EnableStatementPooling),
    (Key::StatementWarmCount, Key::EnableStatementPooling),
    (Key::StatementWarmBudget, Key::EnableStatementPooling),
    (Key::MaxCacheSize, Key::EnableQueryCache),
    (Key::MaxCacheWeight, Key::EnableQueryCache),
    (Key::CacheTtl, Key::EnableQueryCache),
    (Key::CacheTtlJitter, Key::EnableQueryCache),
    (Key::CacheShards, Key::EnableQueryCache),
    (Key::SlowStatement, Key::EnableLogging),
];

/// Tells whether a value of this key may stand in conflict with another one.
pub(crate) fn may_conflict(key: Key) -> bool {
    AT_MOST.iter().any(|(low, limit)| [*low, *limit].contains(&key))
}

/// Lets defaults give way to what was set: who asks for one connection at most did not ask for two at least.
pub(crate) fn defaults_give_way(settled: &mut [Settled]) {
    for (key, limit) in AT_MOST {
        let most = at(settled, *limit).clone();
        let low = &mut settled[*key as usize].holds;
        if low.origin == Origin::Default && count(low) > count(&most) {
            low.value = most.value;
        }
    }
}

/// Returns the conflicts between values. A key in `spoiled` has a problem already, so it is not judged again.
pub(crate) fn conflicts(settled: &[Settled], spoiled: &BTreeSet<Key>) -> Vec<Problem> {
    let judged = AT_MOST.iter().filter(|(key, limit)| !spoiled.contains(key) && !spoiled.contains(limit));
    let broken = judged.filter_map(|(key, limit)| match (at(settled, *key), at(settled, *limit)) {
        (low, high) if count(low) > count(high) => Some(Problem::Conflict {
            key: *key,
            value: low.value,
            origin: low.origin.clone(),
            limit: *limit,
            limit_value: high.value,
            limit_origin: high.origin.clone(),
        }),
        _ => None,
    });
    broken.collect()
}

fn count(setting: &Setting) -> usize {
    match setting.value {
        Value::Count(count) => count,
        _ => unreachable!("BUG: a rule about counts names a key of another kind"),
    }
}

/// Returns what is probably not meant.
pub(crate) fn warnings(settled: &[Settled]) -> Vec<Warning> {
    let off = |switch: Key| matches!(at(settled, switch).value, Value::Flag(false) | Value::Never);
    // Defaults and presets set everything they might need; only what somebody wrote down is worth a warning.
    let written = |key: Key| !matches!(at(settled, key).origin, Origin::Default | Origin::Preset(_));
    let mut warnings: Vec<Warning> = SWITCHED_BY
        .iter()
        .filter(|(key, switch)| written(*key) && off(*switch))
        .map(|(key, switch)| Warning::WithoutEffect {
            key: *key,
            setting: at(settled, *key).clone(),
            switch: *switch,
            switch_value: at(settled, *switch).value,
            switch_origin: at(settled, *switch).origin.clone(),
        })
        .collect();
    let (idle_timeout, reap_interval) = (at(settled, Key::IdleTimeout), at(settled, Key::ReapInterval));
    if let (Value::Time(idle), Value::Time(round)) = (idle_timeout.value, reap_interval.value)
        && idle < round
    {
        let (idle_timeout, reap_interval) = (idle_timeout.clone(), reap_interval.clone());
        warnings.push(Warning::LateReaping { idle_timeout, reap_interval });
    }
    warnings
}
