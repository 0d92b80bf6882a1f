//! Settings from a figment provider of somebody else.
//!
//! Owns the mapping from a provider's profiles and metadata to entries and origins; it must not know any provider.
//! Invariant: a provider that fails becomes one problem and leaves the other sources alone.

use std::fmt;
use std::sync::Arc;

use figment::value::{Dict, Value as Raw};
use figment::{Metadata, Profile, Provider, Source};

use super::text::DATABASES;
use crate::error::Problem;
use crate::layer::Reading;
use crate::origin::Origin;

/// A provider that a builder keeps until it is read.
#[derive(Clone)]
pub(crate) struct Foreign(Arc<dyn Provider + Send + Sync>);

impl fmt::Debug for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Foreign").field(&self.0.metadata().name).finish()
    }
}

impl Foreign {
    pub(crate) fn new(provider: impl Provider + Send + Sync + 'static) -> Foreign {
        Foreign(Arc::new(provider))
    }

    /// Takes in what the provider says.
    pub(crate) fn read(&self, reading: &mut Reading) {
        let metadata = self.0.metadata();
        match self.0.data() {
            Ok(mut profiles) => {
                let mut said = profiles.remove(&Profile::Default).unwrap_or_default();
                said.extend(profiles.remove(&Profile::Global).unwrap_or_default());
                take(&metadata, said, reading);
            }
            Err(error) => {
                let name = metadata.name.into_owned();
                reading.problems.push(Problem::Provider { name, source: Box::new(error) });
            }
        }
    }
}

fn take(metadata: &Metadata, said: Dict, reading: &mut Reading) {
    for (key, raw) in said {
        match raw {
            Raw::Dict(_, databases) if key == DATABASES => {
                for (database, raw) in databases {
                    let place = format!("{DATABASES}.{database}");
                    take_database(metadata, &database, &place, raw, reading);
                }
            }
            raw if key == DATABASES => {
                let (found, origin) = (crate::kind::type_of(&raw), origin(metadata, &key));
                let allowed = "one table for each database";
                reading.problems.push(Problem::NotATable { place: key, found, origin, allowed });
            }
            raw => reading.take(None, &key, raw, origin(metadata, &key)),
        }
    }
}

fn take_database(metadata: &Metadata, database: &str, place: &str, raw: Raw, reading: &mut Reading) {
    match raw {
        Raw::Dict(_, table) => {
            for (key, raw) in table {
                reading.take(Some(database), &key, raw, origin(metadata, &format!("{place}.{key}")));
            }
        }
        raw => {
            let (found, origin) = (crate::kind::type_of(&raw), origin(metadata, place));
            let (place, allowed) = (place.to_owned(), "a table of settings");
            reading.problems.push(Problem::NotATable { place, found, origin, allowed });
        }
    }
}

fn origin(metadata: &Metadata, key: &str) -> Origin {
    match &metadata.source {
        Some(Source::File(path)) => Origin::File { path: path.as_path().into(), line: None, key: key.into() },
        Some(Source::Code(location)) => Origin::Code { location },
        _ => Origin::Provider { name: metadata.name.as_ref().into(), key: key.into() },
    }
}
