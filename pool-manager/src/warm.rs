//! Warm start: what was asked for most goes out as plain values, and is asked for again before there is traffic.
//!
//! Owns the form in which queries leave the process, and running them within a time. It must not know how results are kept. Invariant: what
//! comes back is run like any other query, so a list from yesterday or from somewhere else can be useless but not wrong.

use std::time::{Duration, Instant};

use rusqlite::Row;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::blocking::Blocking;
use crate::error::Result;
use crate::manager::DatabaseManager;
use crate::parameters::{ParameterList, Parameters, Values};

/// A query whose result is cached, with its parameters; from [`DatabaseManager::hot_queries`].
///
/// Serializes, so that a program can keep a list for its next start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HotQuery {
    /// The text of the query.
    pub sql: String,
    /// Its parameters, in order.
    #[serde(with = "plain")]
    pub parameters: Vec<Value>,
    /// The names of its parameters, in the same order; empty where they are given by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How often the result was asked for while it was cached; approximately, where several threads ask at once.
    pub hits: u64,
}

impl HotQuery {
    /// Names a query that is to be warmed.
    pub fn new(sql: impl Into<String>, parameters: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), parameters: parameters.into(), names: Vec::new(), hits: 0 }
    }

    pub(crate) fn hit(sql: &str, parameters: Values, hits: u64) -> Self {
        let Values { names, values } = parameters;
        Self { sql: sql.to_owned(), parameters: values, names, hits }
    }
}

/// Its own parameters.
impl Parameters for &HotQuery {
    fn list(&self, list: &mut ParameterList) -> rusqlite::Result<()> {
        if self.names.is_empty() {
            return self.parameters.list(list);
        }
        self.names.iter().zip(&self.parameters).try_for_each(|(name, value)| list.push_named(name, value))
    }
}

/// What became of a list of queries; from [`DatabaseManager::warm`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// Queries whose result is there now; those that can't be cached count, too.
    pub ran: usize,
    /// Queries that failed: the table may be gone, or `map` made for another query.
    pub failed: usize,
    /// Queries for which there was no time.
    pub left: usize,
}

impl Warmed {
    fn count<T>(&mut self, sql: &str, done: Result<T>) {
        match done {
            Ok(_) => self.ran += 1,
            Err(error) => {
                self.failed += 1;
                tracing::debug!(target: "pool_manager", sql, %error, "a query could not be warmed");
            }
        }
    }
}

impl DatabaseManager {
    /// Lists the queries whose results were asked for most, of those that [`query_cached`](Self::query_cached) keeps now, at most `limit`, the
    /// hottest first.
    ///
    /// A query that is cached for several `map` functions is listed for each. Results of [`execute_cached`](Self::execute_cached) are not
    /// listed: their closures are not known by a text. Looks at everything that is cached; do it now and then, or before closing.
    #[must_use]
    pub fn hot_queries(&self, limit: usize) -> Vec<HotQuery> {
        self.engine().query_cache().hot_queries(limit)
    }

    /// Runs queries of a list as [`query_cached`](Self::query_cached) does, one after the other, until `within` is over: then the cache has their
    /// results before anybody asks. One that is cached already, or asked for meanwhile, does not run again.
    ///
    /// `map` has to be the function that the program's own calls pass, by name: results are told apart by it. A list with queries for
    /// several is divided by their texts first. The query that runs when the time is over runs to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) after closing. What fails in a query is counted, and told of at debug level.
    ///
    /// ```
    /// use pool_manager::rusqlite::{self, Row, params};
    /// use pool_manager::{DatabaseManager, HotQuery};
    /// use std::time::Duration;
    ///
    /// fn name(row: &Row<'_>) -> rusqlite::Result<String> {
    ///     row.get(0)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("a.sqlite");
    /// let db = DatabaseManager::open(&path)?;
    /// # db.write(|tx| Ok(tx.execute_batch("CREATE TABLE user (id INTEGER PRIMARY KEY, name); INSERT INTO user VALUES (1, 'Ada')")?)).await?;
    /// const NAME: &str = "SELECT name FROM user WHERE id = ?1";
    /// db.query_cached(NAME, params![1], name).await?;
    /// let kept = serde_json::to_string(&db.hot_queries(1000))?;
    /// db.close_pool().await?;
    ///
    /// // The next start:
    /// let db = DatabaseManager::open(&path)?;
    /// let mut hot: Vec<HotQuery> = serde_json::from_str(&kept)?;
    /// hot.retain(|query| query.sql == NAME);
    /// let warmed = db.warm(&hot, Duration::from_secs(2), name).await?;
    /// assert_eq!((warmed.ran, warmed.left), (1, 0));
    /// assert_eq!(*db.query_cached(NAME, params![1], name).await?, ["Ada"]);
    /// assert_eq!(db.pool_stats().expect("pooling is on").cache_hits, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm<T, F>(&self, queries: &[HotQuery], within: Duration, map: F) -> Result<Warmed>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + Clone + Send + 'static,
    {
        let (mut warmed, since) = (Warmed::default(), Instant::now());
        for query in queries {
            self.engine().open_or_closed()?;
            if since.elapsed() >= within {
                warmed.left += 1;
                continue;
            }
            let done = self.query_cached(&query.sql, query, map.clone()).await;
            warmed.count(&query.sql, done);
        }
        Ok(warmed)
    }
}

impl Blocking<'_> {
    /// As [`DatabaseManager::warm`].
    ///
    /// # Errors
    ///
    /// As [`DatabaseManager::warm`].
    pub fn warm<T, F>(&self, queries: &[HotQuery], within: Duration, map: F) -> Result<Warmed>
    where
        T: Send + Sync + 'static,
        F: Fn(&Row<'_>) -> rusqlite::Result<T> + Clone + 'static,
    {
        let (mut warmed, since) = (Warmed::default(), Instant::now());
        for query in queries {
            self.engine().open_or_closed()?;
            if since.elapsed() >= within {
                warmed.left += 1;
                continue;
            }
            warmed.count(&query.sql, self.query_cached(&query.sql, query, map.clone()));
        }
        Ok(warmed)
    }
}

/// Values as serde knows them. Fractions are text, which every format gives back to the last bit.
mod plain {
    use rusqlite::types::Value;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Plain {
        Null,
        Integer(i64),
        Real(String),
        Text(String),
        Blob(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(values: &[Value], serializer: S) -> Result<S::Ok, S::Error> {
        let plain = |value: &Value| match value {
            Value::Null => Plain::Null,
            Value::Integer(number) => Plain::Integer(*number),
            Value::Real(number) => Plain::Real(number.to_string()),
            Value::Text(text) => Plain::Text(text.clone()),
            Value::Blob(bytes) => Plain::Blob(bytes.clone()),
        };
        serializer.collect_seq(values.iter().map(plain))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
        let value = |plain| {
            Ok(match plain {
                Plain::Null => Value::Null,
                Plain::Integer(number) => Value::Integer(number),
                Plain::Real(number) => Value::Real(number.parse().map_err(de::Error::custom)?),
                Plain::Text(text) => Value::Text(text),
                Plain::Blob(bytes) => Value::Blob(bytes),
            })
        };
        Vec::<Plain>::deserialize(deserializer)?.into_iter().map(value).collect()
    }
}
