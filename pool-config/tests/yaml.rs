//! YAML says what JSON says, with the same origins, and hostile YAML ends in a clear error.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod samples;

use pool_config::{Key, Origin, PoolConfig, Value};
use proptest::prelude::*;
use samples::{base, samples, written};

fn yaml(text: &str) -> String {
    PoolConfig::builder().yaml_str("pool.yaml", text).build().unwrap_err().to_string()
}

#[test]
fn every_key_comes_back_in_both_spellings_and_all_styles() {
    for key in PoolConfig::keys() {
        for value in samples(key) {
            for text in written(&value) {
                for name in [key.name(), key.camel_name()] {
                    let plain = text.trim_matches('"');
                    let quoted = plain.len() < text.len();
                    // A number in quotes is text, and text of units needs no quotes.
                    let single = if quoted { format!("'{plain}'") } else { text.clone() };
                    for text in
                        [format!("{name}: {text}"), format!("{{ {name}: {single} }}"), format!("\"{name}\": {plain}")]
                    {
                        let config =
                            base().yaml_str("y", &*text).build().unwrap_or_else(|error| panic!("{text}: {error}"));
                        assert_eq!(config.value(key), value, "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_value_of_every_key_is_found_with_its_line() {
    for key in PoolConfig::keys() {
        let value = serde_json::to_string(&samples(key)[0]).unwrap();
        let config = base().yaml_str("pool.yaml", format!("# é\n\n{}: {value}\n", key.camel_name())).build().unwrap();
        let expected = Origin::Text { name: "pool.yaml".into(), line: Some(3), key: key.camel_name().into() };
        assert_eq!(*config.origin(key), expected);
    }
}

#[test]
fn databases_are_tables_in_a_table() {
    let text = "max_connections: 5\ndatabases:\n  users:\n    max_connections: 6\n  others: {}\n";
    let builder = PoolConfig::builder().yaml_str("pool.yaml", text);
    let users = builder.build_for("users").unwrap();
    assert_eq!((users.max_connections(), builder.build_for("others").unwrap().max_connections()), (6, 5));
    let origin = users.origin(Key::MaxConnections).to_string();
    assert_eq!(origin, "pool.yaml line 4 as databases.users.max_connections");
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [("0x10", 16), ("0o17", 15), ("+7", 7), ("007", 7)] {
        let config = PoolConfig::builder().yaml_str("y", format!("max_connections: {text}")).build().unwrap();
        assert_eq!(config.value(Key::MaxConnections), Value::Count(expected), "{text}");
    }
    for (text, fault) in [
        ("yes", "\"yes\" is text"),
        ("~", "null is nothing"),
        ("", "null is nothing"),
        ("1.5", "1.5 is a fraction"),
        ("1e3", "1000 is a fraction"),
        (".inf", "inf is too large"),
        ("-.inf", "-inf is negative"),
        (".nan", "NaN is a fraction"),
        ("1.2.3", "\"1.2.3\" is text"),
        ("[1, [2]]", "[...] is a list"),
        ("{ a: { b: c } }", "{...} is a table"),
        ("\"5\"", "\"5\" is text"),
        ("99999999999999999999999999999999999999999999", "100000000000000000000000000000000000000000000 is too large"),
    ] {
        let expected = format!(
            "max_connections = {fault}, from pool.yaml line 1; allowed: a whole number of connections from 1 to 4096"
        );
        assert_eq!(yaml(&format!("max_connections: {text}")), expected);
    }
}

#[test]
fn what_repeats_or_expands_is_refused() {
    for (text, expected) in [
        ("a: &x 1\nb: *x", "line 1 column 4 is not YAML: expected a value without anchor, alias or tag"),
        ("max_connections: !!int 5", "line 1 column 18 is not YAML: expected a value without anchor, alias or tag"),
        ("&a {}", "line 1 column 1 is not YAML: expected a mapping of settings"),
        ("a: 1\n---\nb: 2", "line 3 column 1 is not YAML: expected one document"),
        ("- 1", "line 1 column 1 is not YAML: expected a mapping of settings"),
        ("secret", "line 1 column 1 is not YAML: expected a mapping of settings"),
        ("? [1]\n: 2", "line 1 column 3 is not YAML: expected a plain key"),
    ] {
        assert_eq!(yaml(text), format!("pool.yaml {expected}"), "{text:?}");
    }
    let twice = yaml("max_connections: 5\nmax_connections: 6");
    assert_eq!(
        twice,
        "max_connections is set twice in one layer, to 5 from pool.yaml line 1 and to 6 from pool.yaml line 2; \
         allowed: one of them"
    );
}

#[test]
fn a_file_that_says_nothing_sets_nothing() {
    for text in ["", "# nothing\n", "---\n", "{}", "\u{feff}"] {
        assert_eq!(PoolConfig::builder().yaml_str("y", text).build().unwrap(), PoolConfig::default(), "{text:?}");
    }
}

#[test]
fn files_are_known_by_two_ends_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pool.yaml", "pool.YML"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "max_connections: 5").unwrap();
        assert_eq!(PoolConfig::builder().file(&path).build().unwrap().max_connections(), 5);
    }
    let error = PoolConfig::builder().file("pool.ini").build().unwrap_err();
    assert!(error.to_string().ends_with("allowed: names that end in .toml, .json, .yaml or .yml"), "{error}");
}

#[test]
fn deep_nesting_ends_in_an_error() {
    let deep = 200_000;
    for text in ["[".repeat(deep), "{a: ".repeat(deep), "- ".repeat(deep), "? ".repeat(deep), "a: &".repeat(deep)] {
        for text in [text.clone(), format!("max_connections: {text}"), format!("max_connections:\n  {text}")] {
            let error = yaml(&text);
            assert!(
                error.starts_with("pool.yaml line ") && error.contains(" is not YAML: ")
                    || error.starts_with("max_connections = [...] is a list"),
                "{error}"
            );
        }
    }
}

#[test]
fn wide_documents_are_read_in_one_pass() {
    let wide = 100_000;
    for text in [
        "k: 1\n".repeat(wide),
        format!("k: [{}]", "a: 1, ".repeat(wide)),
        format!("k: [{}", "a, ".repeat(wide)),
        format!("k: {{{}", "? ".repeat(wide)),
        format!("k: [{}", "[], ".repeat(wide)),
        format!("k: \"{}", "\\n\n".repeat(wide)),
        format!("k: |\n{}", " a\n".repeat(wide)),
        "- a\n".repeat(wide),
        "a ".repeat(wide),
        ":".repeat(wide),
        "%".repeat(wide),
    ] {
        let error = PoolConfig::builder().yaml_str("y", text).build().unwrap_err();
        assert!(error.problems().len() <= 100 && !error.to_string().is_empty());
    }
}

#[test]
fn bad_characters_end_in_an_error() {
    for text in
        ["max_connections: 5\0", "\0", "max\0: 5", "a: \"\\x00", "\u{7f}: \u{1}", "a: |\n \u{85}", "%YAML 9.9\n---\n{}"]
    {
        // Whether the parser takes them or not, the outcome is a configuration or one line an error.
        if let Err(error) = PoolConfig::builder().yaml_str("y", text).build() {
            assert!(error.problems().iter().all(|problem| problem.to_string().lines().count() == 1), "{error}");
        }
    }
    assert_eq!(yaml("max_connections: 5\0"), "pool.yaml line 1 column 19 is not YAML: found unprintable character");
}

proptest! {
    #[test]
    fn what_is_json_reads_as_the_same_yaml(
        connections in -5i64..5_000,
        share in -0.5f64..1.5,
        idle in prop_oneof!["\"[0-9]{1,3} ?(s|ms|m)\"", "[1-9][0-9]{0,7}", Just("null".to_owned()), Just("true".to_owned())],
        gap in "[ \n]{0,3}",
    ) {
        let text = format!(
            "{{\"maxConnections\": {connections},{gap}\"age_jitter\": {share:?}, \"databases\": {gap}{{\"users\": {{\"idleTimeout\":{gap} {idle}}}}}}}"
        );
        let json = PoolConfig::builder().json_str("t", &*text).build_for("users");
        let yaml = PoolConfig::builder().yaml_str("t", &*text).build_for("users");
        match (json, yaml) {
            (Ok(json), Ok(yaml)) => {
                prop_assert_eq!(json.max_connections(), yaml.max_connections());
                prop_assert_eq!(json, yaml);
            }
            (Err(json), Err(yaml)) => {
                let keys = |error: &pool_config::ConfigError| error.problems().iter().map(pool_config::Problem::key).collect::<Vec<_>>();
                prop_assert_eq!(keys(&json), keys(&yaml), "{} / {}", json, yaml);
            }
            (json, yaml) => prop_assert!(false, "{:?} / {:?}", json, yaml),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,60}|[-a:&*!|>'\"{}\\[\\]?#,%@ \t\n0-9]{0,60}") {
        if let Err(error) = PoolConfig::builder().yaml_str("y", text).build() {
            for problem in error.problems() {
                prop_assert!(problem.to_string().lines().count() == 1, "{}", problem);
            }
        }
    }
}
