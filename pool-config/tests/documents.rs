//! The example file, the schema and the explanation say what the table of keys says.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod samples;

use std::path::PathBuf;

use pool_config::{Key, PoolConfig, Preset, Section, Value};
use samples::{base, samples, written};
use serde_json::{Value as Json, json};

/// Compares a file at the root of the workspace with what it is generated from.
fn assert_current(name: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let file = std::fs::read_to_string(path).unwrap();
    assert!(file == generated, "{name} is not current; to write it anew: cargo xtask config --write");
}

#[test]
fn the_example_file_is_current() {
    assert_current("pool.example.toml", &PoolConfig::example());
}

#[test]
fn the_schema_file_is_current() {
    assert_current("pool.schema.json", &PoolConfig::json_schema());
}

/// The example with its settings switched on.
fn switched_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    PoolConfig::example().lines().map(on).collect()
}

#[test]
fn the_example_sets_every_key_to_its_default_once_it_is_switched_on() {
    let builder = PoolConfig::builder().toml_str("pool.toml", switched_on());
    let config = builder.build().unwrap();
    assert_eq!(config, PoolConfig::default());
    assert!(PoolConfig::keys().all(|key| !config.is_default(key)));
    assert_eq!(builder.build_for("users").unwrap().max_connections(), 4);
    assert!(PoolConfig::example().lines().all(|line| line.chars().count() <= 160));
}

/// Judges a document by the parts of JSON schema that the schema uses.
fn accepts(root: &Json, schema: &Json, document: &Json) -> bool {
    let schema = schema.as_object().unwrap();
    schema.iter().all(|(rule, wanted)| match rule.as_str() {
        "$ref" => accepts(root, root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), document),
        "anyOf" => wanted.as_array().unwrap().iter().any(|any| accepts(root, any, document)),
        "enum" => wanted.as_array().unwrap().contains(document),
        "type" => match wanted.as_str().unwrap() {
            "integer" => document.is_i64() || document.is_u64(),
            "number" => document.is_number(),
            "boolean" => document.is_boolean(),
            "string" => document.is_string(),
            "object" => document.is_object(),
            other => panic!("unknown type {other}"),
        },
        "minimum" => document.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => document.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "minLength" => document.as_str().is_none_or(|text| text.len() as u64 >= wanted.as_u64().unwrap()),
        "pattern" => {
            let pattern = regex::Regex::new(wanted.as_str().unwrap()).unwrap();
            document.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "properties" | "additionalProperties" => {
            let known = schema.get("properties").and_then(Json::as_object);
            let rest = schema.get("additionalProperties").unwrap();
            document.as_object().into_iter().flatten().all(|(name, value)| {
                match (known.and_then(|known| known.get(name)), rest) {
                    (Some(property), _) => accepts(root, property, value),
                    (None, Json::Bool(allowed)) => *allowed,
                    (None, other) => accepts(root, other, value),
                }
            })
        }
        "$schema" | "title" | "description" | "default" | "definitions" => true,
        other => panic!("unknown rule {other}"),
    })
}

fn schema() -> Json {
    serde_json::from_str(&PoolConfig::json_schema()).unwrap()
}

#[test]
fn the_schema_takes_every_value_of_every_key_in_both_spellings() {
    let schema = schema();
    for key in PoolConfig::keys() {
        for value in samples(key).into_iter().chain([key.default_value()]) {
            for text in written(&value) {
                let value: Json = serde_json::from_str(&text).unwrap();
                for name in [key.name(), key.camel_name()] {
                    for document in [json!({ name: value }), json!({ "databases": { "users": { name: value } } })] {
                        assert!(accepts(&schema, &schema, &document), "{document}");
                    }
                }
            }
        }
    }
    assert!(accepts(&schema, &schema, &json!({ "$schema": "./pool.schema.json" })));
    assert!(PoolConfig::builder().json_str("j", "{\"$schema\": \"./pool.schema.json\"}").build().is_ok());
}

#[test]
fn the_schema_judges_as_the_reader_does() {
    let schema = schema();
    let candidates = [
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(512),
        json!(4_096),
        json!(5_000),
        json!(70_000),
        json!(1.5),
        json!(0.5),
        json!(4_000_000_000u64),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!("1m 30s"),
        json!("1h30m"),
        json!("1.5s"),
        json!(" 2 min "),
        json!("5 parsecs"),
        json!("10"),
        json!("1s 1m"),
        json!("64 MiB"),
        json!("64mib"),
        json!("1 GiB 1 MiB"),
        json!("1 MiB 1 GiB"),
        json!("4 KiB"),
        json!("never"),
        json!("OFF"),
        json!("unlimited"),
        json!("Normal"),
        json!("extra"),
        json!("inline"),
        json!("sometimes"),
        json!(""),
        json!("-5s"),
        json!("1.s"),
        json!("1 m 30"),
    ];
    for key in PoolConfig::keys() {
        for candidate in &candidates {
            let document = json!({ key.name(): candidate });
            let read = base().json_str("j", document.to_string()).build();
            // The ranges of text are the reader's alone.
            let ranged = read.as_ref().is_err_and(|error| {
                let text = error.to_string();
                candidate.is_string()
                    && [" is too large", " is too small", " is no power of two", " is zero"]
                        .iter()
                        .any(|why| text.contains(why))
            });
            assert!(ranged || accepts(&schema, &schema, &document) == read.is_ok(), "{document}: {read:?}");
        }
    }
    for document in [
        json!({ "color": 1 }),
        json!({ "databases": 5 }),
        json!({ "databases": { "users": { "databases": {} } } }),
        json!([]),
    ] {
        assert!(!accepts(&schema, &schema, &document), "{document}");
    }
}

#[test]
fn an_explanation_shows_value_origin_and_what_is_hidden() {
    let config = PoolConfig::builder()
        .preset(Preset::HighThroughput)
        .toml_str("pool.toml", "maxConnections = 30\nenable_query_cache = false\ncache_ttl = \"1m\"")
        .env_from([("POOL_MAX_CONNECTIONS", "40")])
        .build()
        .unwrap();
    let text = config.explain().to_string();
    let words = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        words("max_connections"),
        "max_connections 40 environment variable POOL_MAX_CONNECTIONS instead of 30 (pool.toml line 1 as \
         maxConnections), 25 (preset high_throughput), 10 (default)"
    );
    assert_eq!(words("acquire_timeout"), "acquire_timeout 2s preset high_throughput instead of 10s (default)");
    assert_eq!(words("mmap_size"), "mmap_size 256 MiB default");
    assert!(text.ends_with(
        "warning without_effect: cache_ttl = 1m, from pool.toml line 3, has no effect: enable_query_cache = false, from \
         pool.toml line 2\n"
    ));
}

#[test]
fn an_explanation_has_one_line_a_key_below_the_heading_of_its_section() {
    let config = PoolConfig::builder().toml_str("evil\nname\u{1b}[31m", "max_connections = 5").build().unwrap();
    let text = config.explain().to_string();
    let headings: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(headings, ["connections", "statements", "query cache", "database", "lanes", "logging"]);
    assert_eq!(text.lines().count(), Key::ALL.len() + headings.len());
    assert!(!text.contains('\u{1b}'));
    let begin = |section: Section| text.find(&format!("{section}\n")).unwrap();
    assert!(begin(Section::Lanes) < text.find("write_batch_max").unwrap());
    let column = |line: &str| line.find("default").unwrap();
    let lines = || text.lines().filter(|line| line.ends_with("  default"));
    assert!(lines().all(|line| column(line) == column(lines().next().unwrap())));
    assert_eq!(config.value(Key::MaxConnections), Value::Count(5));
}
