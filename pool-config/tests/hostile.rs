//! Hostile input ends in a clear error: no panic, no hang, no memory to match.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod claims;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use pool_config::{ConfigError, PoolConfig};
use proptest::prelude::*;
use tempfile::TempDir;

fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn error(path: &Path) -> ConfigError {
    PoolConfig::builder().file(path).build().unwrap_err()
}

/// The text of the error, without the temporary folder.
fn text(path: &Path) -> String {
    error(path).to_string().replace(path.to_str().unwrap(), path.file_name().unwrap().to_str().unwrap())
}

fn text_of(name: &str, content: &[u8]) -> String {
    let (_folder, path) = file(name, content);
    text(&path)
}

#[test]
fn a_file_of_ten_megabytes_is_not_read() {
    for name in ["pool.toml", "pool.json"] {
        let expected = format!("{name} is larger than 1048576 bytes; allowed: a smaller file");
        assert_eq!(text_of(name, &vec![b'#'; 10 << 20]), expected);
    }
}

#[test]
fn text_of_ten_megabytes_is_not_parsed() {
    let huge = "#".repeat(10 << 20);
    let error = PoolConfig::builder().toml_str("t", huge.clone()).json_str("j", huge).build().unwrap_err();
    assert_eq!(error.problems()[0].to_string(), "t is larger than 1048576 bytes; allowed: a smaller file");
    assert_eq!(error.problems()[1].to_string(), "j is larger than 1048576 bytes; allowed: a smaller file");
}

#[test]
fn deep_nesting_is_refused_by_the_parsers() {
    let deep = 300_000;
    for (content, start) in [
        (format!("max_connections = {}", "[".repeat(deep)), "pool.toml line 1 column "),
        (format!("max_connections = {}", "{a=".repeat(deep)), "pool.toml line 1 column "),
        (format!("{}a = 1", "a.".repeat(deep)), "pool.toml line 1 column "),
        (format!("[{}a]", "a.".repeat(deep)), "pool.toml line 1 column "),
    ] {
        let text = text_of("pool.toml", content.as_bytes());
        assert!(text.starts_with(start) && text.contains(" is not TOML: "), "{text}");
    }
    let objects = "{\"a\":".repeat(deep / 2);
    for content in ["[".repeat(deep), objects.clone(), format!("{{\"databases\":{objects}")] {
        let text = text_of("pool.json", content.as_bytes());
        assert!(text.starts_with("pool.json line 1 column ") && text.contains(" is not JSON: "), "{text}");
    }
}

#[test]
fn deep_nesting_that_is_well_formed_is_a_bad_value_or_bad_syntax() {
    let deep = 300_000;
    let content = format!("{{\"maxConnections\": {}{}}}", "[".repeat(deep), "]".repeat(deep));
    let text = text_of("pool.json", content.as_bytes());
    assert!(text.starts_with("pool.json line 1 column ") || text.starts_with("max_connections = [...] is a list"));
    let content = format!("maxConnections = {}{}", "[".repeat(deep), "]".repeat(deep));
    let text = text_of("pool.toml", content.as_bytes());
    assert!(text.starts_with("pool.toml line 1 column ") || text.starts_with("max_connections = [...] is a list"));
}

#[test]
fn a_file_full_of_keys_is_read_in_one_pass() {
    let keys: String = (0..60_000).map(|n| format!("k{n}={n}\n")).collect();
    let error = PoolConfig::builder().toml_str("t", keys).build().unwrap_err();
    assert_eq!(error.problems().len() + error.left_off(), 60_000);
    assert!(error.problems()[99].to_string().contains("from t line 100; "), "{}", error.problems()[99]);
}

#[test]
fn a_nul_is_refused() {
    let toml = text_of("pool.toml", b"max_connections = 5\0");
    assert!(toml.starts_with("pool.toml line 1 column 19 is not TOML: "), "{toml}");
    let json = text_of("pool.json", b"{\"maxConnections\": 5\0}");
    assert!(json.starts_with("pool.json line 1 column 21 is not JSON: "), "{json}");
    let key = PoolConfig::builder().json_str("j", r#"{"max\u0000": 1}"#).build().unwrap_err().to_string();
    assert!(key.starts_with("max\\u{0} = 1 is not a known key") || key.starts_with("max\\u{0} is not a"), "{key}");
}

#[test]
fn bytes_that_are_not_text_are_told_with_their_line() {
    let expected = "pool.toml is not text: line 2 is not UTF-8";
    assert_eq!(text_of("pool.toml", b"max_connections = 5\nidle_timeout = \"\xff\xfe\""), expected);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    for (name, content) in [("p.toml", "\u{feff}max_connections = 5"), ("p.JSON", "\u{feff}{\"maxConnections\": 5}")] {
        let (_folder, path) = file(name, content.as_bytes());
        assert_eq!(PoolConfig::builder().file(&path).build().unwrap().max_connections(), 5);
    }
}

#[test]
fn a_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.toml");
    fs::create_dir(&path).unwrap();
    assert_eq!(text(&path), "pool.toml is a directory; allowed: a regular file");
}

#[test]
fn a_path_with_a_nul_is_refused() {
    let error = error(Path::new("a\0b.toml"));
    assert_eq!(error.to_string(), "cannot read a\\u{0}b.toml");
    assert!(error.source().is_some());
}

#[test]
fn broken_variables_are_told() {
    let error = PoolConfig::builder()
        .env_from([("POOL_", "1"), ("POOL_DATABASES", "1"), ("POOL_DATABASES__", "1"), ("POOL_DATABASES____X", "1")])
        .build()
        .unwrap_err();
    let keys: Vec<_> = error.problems().iter().map(|problem| problem.to_string()).collect();
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|text| text.starts_with("POOL_") && text.contains(" is not a known key")), "{keys:?}");
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_loop_of_links_is_told_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.toml"), folder.path().join("two.toml"));
        symlink(&one, &two).unwrap();
        symlink(&two, &one).unwrap();
        assert_eq!(text(&one), "cannot read one.toml");
        assert!(error(&one).source().unwrap().to_string().contains("symbolic links"));
        // A loop is a mistake even where a missing file is none.
        assert!(PoolConfig::builder().optional_file(&one).build().is_err());
    }

    #[test]
    fn devices_pipes_and_sockets_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let endless = folder.path().join("pool.toml");
        symlink("/dev/zero", &endless).unwrap();
        assert_eq!(text(&endless), "pool.toml is a device, a pipe or a socket; allowed: a regular file");

        let pipe = folder.path().join("pipe.json");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(text(&pipe), "pipe.json is a device, a pipe or a socket; allowed: a regular file");

        let socket = folder.path().join("socket.toml");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(text(&socket), "socket.toml is a device, a pipe or a socket; allowed: a regular file");
    }

    #[test]
    fn a_file_is_refused_exactly_when_the_system_refuses_it() {
        let (_folder, path) = file("pool.toml", b"max_connections = 5");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser reads everything, so what is right depends on who runs this.
        match (fs::read(&path), PoolConfig::builder().file(&path).build()) {
            (Ok(_), Ok(config)) => assert_eq!(config.max_connections(), 5),
            (Err(refused), Err(error)) => {
                assert_eq!(text(&path), "cannot read pool.toml");
                let cause = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
                assert_eq!(cause.kind(), refused.kind());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn variables_that_are_not_text_are_told_and_others_left_alone() {
        let bad = || OsString::from_vec(vec![b'x', 0xff]);
        let ours = |rest: &[u8]| OsString::from_vec([b"POOL_", rest].concat());
        let error = PoolConfig::builder()
            .env_from([(bad(), bad()), ("POOL_MAX_CONNECTIONS".into(), bad()), (ours(b"\xff"), "1".into())])
            .build()
            .unwrap_err();
        let texts: Vec<_> = error.problems().iter().map(|problem| problem.to_string()).collect();
        assert_eq!(
            texts,
            [
                "environment variable POOL_MAX_CONNECTIONS is not text: its value is not UTF-8",
                "environment variable POOL_\u{fffd} is not text: its name is not UTF-8",
            ]
        );
    }
}

/// Text that is nearly a configuration, to get deep into the readers.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("max_connections"),
        Just("maxConnections"),
        Just("databases"),
        Just("\"idleTimeout\""),
        Just(" = "),
        Just(": "),
        Just("\n"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just("."),
        Just("\""),
        Just("'''"),
        Just("-1"),
        Just("1e999"),
        Just("0x"),
        Just("\"10s\""),
        Just("true"),
        Just("null"),
        Just("0.1"),
        Just("age_jitter"),
        Just("busy_timeout"),
        Just("\"64 MiB\""),
        Just("~"),
        Just("- "),
        Just("|"),
        Just("#"),
        Just("\\u0000"),
        Just("\u{feff}"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// So many cases, unless whoever runs the tests asks for another number with `PROPTEST_CASES`.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(usual) }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn every_text_ends_in_a_whole_configuration_or_a_clear_error(text in prop_oneof!["\\PC{0,60}", nearly()]) {
        claims::check(text.as_bytes());
    }

    #[test]
    fn all_bytes_end_in_a_whole_configuration_or_a_clear_error(bytes: Vec<u8>) {
        claims::check(&bytes);
    }
}

#[test]
fn the_seeds_of_the_fuzz_target_say_something() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for seed in fs::read_dir(seeds).unwrap() {
        let path = seed.unwrap().path();
        claims::check(&fs::read(&path).unwrap());
        let yaml = path.extension().is_some_and(|end| end == "yaml") && cfg!(not(feature = "yaml"));
        if path.extension().is_some_and(|end| end != "env") && !yaml {
            let config = PoolConfig::builder().file(&path).build_for("users").unwrap();
            assert!(PoolConfig::keys().any(|key| !config.is_default(key)));
        }
    }
}

#[test]
fn no_bytes_make_a_file_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    proptest!(cases(128), |(bytes: Vec<u8>)| {
        for name in ["pool.toml", "pool.json"] {
            let path = folder.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let outcome = PoolConfig::builder().file(&path).build();
            prop_assert!(outcome.is_ok() || !outcome.unwrap_err().to_string().is_empty());
        }
    });
}
