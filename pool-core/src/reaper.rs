//! Owns the decision which connections to close, mark or check, as a function of what is seen.
//!
//! Decides and does nothing: [`visit`](crate::visit) carries it out. Must not read clocks or take slots. Invariant: a plan
//! never takes the pool below `min_connections` by closing idle connections.

use std::time::Duration;

use crate::clock::{NEVER, Nanos, nanos};
use crate::manager::CloseReason;
use crate::options::Options;

/// What the reaper remembers between two passes.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    pub(crate) next_pass: Nanos,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    uses: u64,
    since: Nanos,
    reported: u64,
}

impl Reaper {
    /// Tells since when at least a slot has been unused, judging by its counter: since the first pass that saw this count.
    pub(crate) fn unused_since(&mut self, index: usize, uses: u64, now: Nanos) -> Nanos {
        let seen = self.seen_mut(index);
        if seen.uses != uses || seen.since == 0 {
            (seen.uses, seen.since) = (uses, now.max(1));
        }
        seen.since
    }

    /// Tells whether this lease is reported as leaked for the first time.
    pub(crate) fn first_report(&mut self, index: usize, uses: u64) -> bool {
        let seen = self.seen_mut(index);
        std::mem::replace(&mut seen.reported, uses) != uses
    }

    fn seen_mut(&mut self, index: usize) -> &mut Seen {
        if self.seen.len() <= index {
            self.seen.resize(index + 1, Seen::default());
        }
        &mut self.seen[index]
    }
}

/// A slot with a connection, as the reaper sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) index: usize,
    /// `None` while leased.
    pub(crate) idle_since: Option<Nanos>,
    /// When its age is up; [`NEVER`] once that has been dealt with.
    pub(crate) retire_at: Nanos,
}

/// What is to be done with one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Close(usize, CloseReason),
    /// Close it when it comes back.
    MarkAged(usize),
    Validate(usize),
}

/// Decides what to do: ages always, idleness and health at a full pass.
pub(crate) fn plan(now: Nanos, options: &Options, full: bool, views: &[View]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut kept = views.len();
    let mut idle = Vec::new();
    for view in views {
        match view.idle_since {
            Some(_) if view.retire_at <= now => {
                actions.push(Action::Close(view.index, CloseReason::MaxAge));
                kept -= 1;
            }
            None if view.retire_at <= now => actions.push(Action::MarkAged(view.index)),
            Some(since) => idle.push((view.index, since)),
            None => {}
        }
    }
    if !full {
        return actions;
    }
    // From above: the low ones are the warm ones.
    for (index, since) in idle.into_iter().rev() {
        let over = |limit: Duration| now.saturating_sub(since) >= nanos(limit);
        if kept > options.min_connections && options.idle_timeout.is_some_and(over) {
            actions.push(Action::Close(index, CloseReason::Idle));
            kept -= 1;
        } else if options.health_checks {
            actions.push(Action::Validate(index));
        }
    }
    actions
}

/// Tells when the next connection reaches its age.
pub(crate) fn next_age(views: &[View], now: Nanos) -> Nanos {
    views.iter().map(|view| view.retire_at).filter(|&at| at > now).min().unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn idle(index: usize, since: Nanos) -> View {
        View { index, idle_since: Some(since), retire_at: NEVER }
    }

    #[test]
    fn the_reaper_stops_at_the_minimum_and_starts_from_above() {
        let options = Options::default().max_connections(4).min_connections(2);
        let views: Vec<_> = (0..4).map(|index| idle(index, 0)).collect();
        let actions = plan(30 * SECOND, &options, true, &views);
        assert_eq!(actions, [Action::Close(3, CloseReason::Idle), Action::Close(2, CloseReason::Idle)]);
    }

    #[test]
    fn recently_used_connections_are_spared() {
        let options = Options::default().max_connections(4).min_connections(0);
        let views = [idle(0, 20 * SECOND), idle(1, 0)];
        assert_eq!(plan(30 * SECOND, &options, true, &views), [Action::Close(1, CloseReason::Idle)]);
    }

    #[test]
    fn age_is_judged_even_between_full_passes_and_even_at_the_minimum() {
        let options = Options::default().min_connections(2);
        let aged = View { index: 0, idle_since: Some(0), retire_at: 5 };
        let leased = View { index: 1, idle_since: None, retire_at: 5 };
        let actions = plan(5, &options, false, &[aged, leased]);
        assert_eq!(actions, [Action::Close(0, CloseReason::MaxAge), Action::MarkAged(1)]);
    }

    #[test]
    fn a_counter_that_moved_restarts_idleness() {
        let mut reaper = Reaper::default();
        assert_eq!(reaper.unused_since(0, 2, 10), 10);
        assert_eq!(reaper.unused_since(0, 2, 20), 10);
        assert_eq!(reaper.unused_since(0, 4, 30), 30);
    }

    #[test]
    fn health_checks_look_at_every_idle_connection_that_stays() {
        let options = Options::default().min_connections(1).health_checks(true);
        let views = [idle(0, 0), idle(1, 0)];
        let actions = plan(30 * SECOND, &options, true, &views);
        assert_eq!(actions, [Action::Close(1, CloseReason::Idle), Action::Validate(0)]);
    }
}
