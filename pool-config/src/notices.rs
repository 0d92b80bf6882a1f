//! The system's own notices of changes, so that a change is seen sooner than at the next look.
//!
//! Owns which folders the system watches; it must not decide what a change is.
//! Invariant: a notice that is missing, late or wrong costs time or a look, never a change: the files are looked at
//! from time to time anyway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::live::lock;
use crate::trail::Trail;
use crate::watch::Watched;

/// The folders that the system watches for one configuration.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Option<Following>>);

struct Following {
    folders: BTreeSet<PathBuf>,
    /// Told by the system; `None` where it can't, because there are too many already for example.
    _watcher: Option<RecommendedWatcher>,
}

impl Notices {
    /// Makes the system watch the folders of these files, and no others.
    pub(crate) fn follow(&self, trail: &Trail, watched: &Arc<Watched>) {
        let folders = trail.folders();
        let mut following = lock(&self.0);
        if following.as_ref().is_none_or(|following| following.folders != folders) {
            let watcher = start(&folders, watched);
            *following = Some(Following { folders, _watcher: watcher });
        }
    }
}

fn start(folders: &BTreeSet<PathBuf>, watched: &Arc<Watched>) -> Option<RecommendedWatcher> {
    let told = Arc::downgrade(watched);
    let nudge = move |event: notify::Result<Event>| {
        let reading = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if let Some(watched) = told.upgrade().filter(|_| !reading) {
            watched.nudge();
        }
    };
    let mut watcher = notify::recommended_watcher(nudge).ok()?;
    for folder in folders {
        // A folder that is missing appears in the next trail that finds it.
        let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
    }
    Some(watcher)
}
