//! The JSON schema of a settings file, by which editors complete and check.
//!
//! Owns how kinds of settings look in a schema; it must not know any key.
//! Invariant: what the readers take the schema takes. What it takes in addition is text whose range or rounding only the
//! readers judge.

use serde_json::{Map, Value as Json, json};

use crate::choice::{ExternalWriters, Synchronous, WorkPlacement};
use crate::config::PoolConfig;
use crate::key::Key;
use crate::kind::{Kind, NEVER, UNLIMITED};
use crate::quantity::{size_pattern, time_pattern};

impl PoolConfig {
    /// Returns the JSON schema (draft 7) of a settings file in any format, as indented text.
    ///
    /// Needs the feature `json`, which is on by default. TOML files name it for editors in a first line
    /// `#:schema ./pool.schema.json`, JSON files with the key `$schema`, YAML files in a first line
    /// `# yaml-language-server: $schema=pool.schema.json`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::PoolConfig;
    ///
    /// let schema: serde_json::Value = serde_json::from_str(&PoolConfig::json_schema())?;
    /// assert_eq!(schema["definitions"]["max_connections"]["maximum"], 4_096);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn json_schema() -> String {
        let mut definitions: Map<String, Json> =
            Key::ALL.iter().map(|key| (key.name().to_owned(), definition(*key))).collect();
        let settings = properties();
        definitions.insert(
            "database".to_owned(),
            json!({
                "type": "object",
                "description": "What is special to one database; wins over the shared settings.",
                "properties": settings.clone(),
                "additionalProperties": false,
            }),
        );
        let mut all = settings;
        all.insert(
            "databases".to_owned(),
            json!({
                "type": "object",
                "description": "One table for each database, by its name.",
                "additionalProperties": { "$ref": "#/definitions/database" },
            }),
        );
        all.insert("$schema".to_owned(), json!({ "type": "string" }));
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Settings of a connection pool",
            "type": "object",
            "properties": all,
            "additionalProperties": false,
            "definitions": definitions,
        });
        format!("{schema:#}\n")
    }
}

/// Every key in both spellings.
fn properties() -> Map<String, Json> {
    let refer = |key: &Key| json!({ "$ref": format!("#/definitions/{key}") });
    let spelled = |key: &'static Key| [key.name(), key.camel_name()].map(|name| (name.to_owned(), refer(key)));
    Key::ALL.iter().flat_map(spelled).collect()
}

fn definition(key: Key) -> Json {
    let mut definition = shape(key.kind());
    definition.insert("description".to_owned(), format!("{}\n\nAllowed: {}.", key.doc(), key.allowed()).into());
    definition.insert("default".to_owned(), serde_json::to_value(key.default_value()).unwrap_or(Json::Null));
    definition.into()
}

fn shape(kind: Kind) -> Map<String, Json> {
    let whole = |min: u128, max: u128| json!({ "type": "integer", "minimum": min as u64, "maximum": max as u64 });
    let text = |pattern: String| json!({ "type": "string", "minLength": 1, "pattern": pattern });
    let word = |words: &[&str]| json!({ "type": "string", "pattern": format!("^\\s*(?:{})\\s*$", any_case(words)) });
    // A number of milliseconds can't be finer than one.
    let millis =
        |min: std::time::Duration, max: std::time::Duration| whole(min.as_nanos().div_ceil(1_000_000), max.as_millis());
    let mut any = match kind {
        Kind::Flag => vec![json!({ "type": "boolean" })],
        Kind::Count { min, max, .. } => vec![whole(min as u128, max as u128)],
        Kind::Size { min, max, .. } => vec![whole(min.into(), max.into()), text(size_pattern())],
        Kind::PowerOfTwo { min, max } => {
            let powers = (0..u64::BITS).map(|power| 1u64 << power).filter(|size| (min..=max).contains(size));
            vec![json!({ "enum": powers.collect::<Vec<_>>() }), text(size_pattern())]
        }
        Kind::Share => vec![json!({ "type": "number", "minimum": 0, "maximum": 1 })],
        Kind::Time { min, max, .. } => vec![millis(min, max), text(time_pattern())],
        Kind::Synchronous => vec![json!({ "enum": Synchronous::WORDS }), word(Synchronous::WORDS)],
        Kind::ExternalWriters => vec![json!({ "enum": ExternalWriters::WORDS }), word(ExternalWriters::WORDS)],
        Kind::WorkPlacement => vec![json!({ "enum": WorkPlacement::WORDS }), word(WorkPlacement::WORDS)],
    };
    match kind {
        Kind::Count { unlimited: true, .. } | Kind::Size { unlimited: true, .. } => {
            any.extend([json!({ "enum": [UNLIMITED] }), word(&[UNLIMITED])]);
        }
        Kind::Time { never: true, .. } => any.extend([json!({ "enum": [NEVER, "off"] }), word(&[NEVER, "off"])]),
        _ => {}
    }
    match <[Json; 1]>::try_from(any) {
        Ok([Json::Object(only)]) => only,
        Ok([other]) => Map::from_iter([("anyOf".to_owned(), vec![other].into())]),
        Err(any) => Map::from_iter([("anyOf".to_owned(), any.into())]),
    }
}

/// Joins words into a pattern that takes them in upper and lower case.
fn any_case(words: &[&str]) -> String {
    words.iter().map(|word| crate::quantity::in_any_case(word)).collect::<Vec<_>>().join("|")
}
