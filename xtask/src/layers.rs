//! `layers`: which crate may know which, as a table, checked against what cargo says and against the words in the sources.
//!
//! The check itself is a pure function of both, so that the tests can plant a violation of every row.

use crate::{
    error::Error,
    workspace::{Package, TextFile, Workspace, from_root, text_files},
};

/// May a crate name the SQLite driver?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    No,
    /// Only as an optional dependency that no default feature turns on.
    BehindFeature,
    Yes,
}

/// What one crate may know.
#[derive(Debug)]
struct Layer {
    name: &'static str,
    /// The siblings it may depend on, in whatever way.
    may_use: &'static [&'static str],
    driver: Driver,
}

const LOWER: &[&str] = &["pool-core", "pool-cache", "pool-config", "pool-stmt"];

/// The house. A crate that is not in this table fails the check: whoever adds one says where it belongs.
const LAYERS: &[Layer] = &[
    Layer { name: "pool-core", may_use: &[], driver: Driver::No },
    Layer { name: "pool-cache", may_use: &[], driver: Driver::No },
    Layer { name: "pool-config", may_use: &[], driver: Driver::No },
    Layer { name: "pool-stmt", may_use: &[], driver: Driver::BehindFeature },
    Layer { name: "pool-manager", may_use: LOWER, driver: Driver::Yes },
    Layer {
        name: "pool-tests",
        may_use: &["pool-core", "pool-cache", "pool-config", "pool-stmt", "pool-manager"],
        driver: Driver::No,
    },
    Layer { name: "xtask", may_use: &["pool-manager"], driver: Driver::No },
];

/// The driver's crates.
const DRIVER: &[&str] = &["rusqlite", "libsqlite3-sys"];

pub(crate) fn run() -> Result<(), Error> {
    let packages = Workspace::load()?.packages;
    let mut sources = Vec::new();
    for name in LOWER {
        if let Some(package) = packages.iter().find(|package| package.name == *name) {
            sources
                .extend(text_files(&from_root(&package.folder().join("src")))?.into_iter().map(|file| (*name, file)));
        }
    }
    let violations = check(&packages, &sources);
    for violation in &violations {
        eprintln!("{violation}");
    }
    if violations.is_empty() {
        println!("layers: {} crates and {} files of the lower layers are in order", packages.len(), sources.len());
        Ok(())
    } else {
        Err(Error::Found { check: "the layer check", count: violations.len() })
    }
}

fn check(packages: &[Package], sources: &[(&str, TextFile)]) -> Vec<String> {
    let mut violations = Vec::new();
    for layer in LAYERS {
        match packages.iter().find(|package| package.name == layer.name) {
            Some(package) => dependencies(layer, package, packages, &mut violations),
            None => violations.push(format!("{} is in the table of layers and not in the workspace", layer.name)),
        }
    }
    for package in packages {
        if LAYERS.iter().all(|layer| layer.name != package.name) {
            violations.push(format!("{} is not in the table of layers: say there what it may use", package.name));
        }
    }
    for (name, file) in sources {
        if let Some(layer) = LAYERS.iter().find(|layer| layer.name == *name) {
            words(layer, file, &mut violations);
        }
    }
    violations
}

/// What cargo says a crate depends on, of all kinds: a test that needs a sibling is a test of another crate.
fn dependencies(layer: &Layer, package: &Package, packages: &[Package], violations: &mut Vec<String>) {
    for dependency in &package.dependencies {
        let (name, kind) = (dependency.name.as_str(), dependency.kind.as_deref().unwrap_or("normal"));
        let sibling = packages.iter().any(|package| package.name == name);
        if sibling && name != layer.name && !layer.may_use.contains(&name) {
            violations.push(format!("{} must not depend on {name} ({kind} dependency)", layer.name));
        }
        if DRIVER.contains(&name) {
            match layer.driver {
                Driver::No => violations.push(format!("{} must not depend on {name} ({kind} dependency)", layer.name)),
                Driver::BehindFeature if dependency.kind.is_none() && !dependency.optional => {
                    violations.push(format!("{} may depend on {name} only behind a feature", layer.name));
                }
                Driver::BehindFeature | Driver::Yes => {}
            }
        }
    }
    if layer.driver == Driver::BehindFeature
        && default_features(package).iter().any(|name| DRIVER.contains(&name.as_str()))
    {
        violations.push(format!("{} must not turn its driver on by default", layer.name));
    }
}

/// Everything that the default feature turns on, through whatever other features.
fn default_features(package: &Package) -> Vec<String> {
    let mut on = vec!["default".to_owned()];
    let mut next = 0;
    while let Some(feature) = on.get(next).cloned() {
        next += 1;
        for turned_on in package.features.get(&feature).into_iter().flatten() {
            let name = turned_on.trim_start_matches("dep:").split(['/', '?']).next().unwrap_or_default().to_owned();
            if !on.contains(&name) {
                on.push(name);
            }
        }
    }
    on
}

/// The words a source file of a lower layer uses, comments and documentation included: who must not know a thing has nothing to say about it.
fn words(layer: &Layer, file: &TextFile, violations: &mut Vec<String>) {
    let own = layer.name.replace('-', "_");
    let siblings = LAYERS.iter().map(|layer| layer.name.replace('-', "_")).filter(|name| *name != own);
    let drivers = DRIVER.iter().filter(|_| layer.driver == Driver::No).map(|name| name.replace('-', "_"));
    let forbidden: Vec<String> = siblings.chain(drivers).collect();
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| forbidden.iter().any(|name| name == word)) {
            violations.push(format!("{}:{}: {} must not know {word}", file.path, index + 1, layer.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::workspace::Dependency;

    fn house() -> Vec<Package> {
        LAYERS
            .iter()
            .map(|layer| Package {
                name: layer.name.into(),
                manifest_path: format!("{}/Cargo.toml", layer.name).into(),
                dependencies: layer.may_use.iter().map(|name| dependency(name)).collect(),
                features: BTreeMap::new(),
                targets: Vec::new(),
            })
            .collect()
    }

    fn dependency(name: &str) -> Dependency {
        Dependency { name: name.into(), kind: None, optional: false }
    }

    /// The violations after `change` was made to one package of a house in order.
    fn after(name: &str, change: impl FnOnce(&mut Package)) -> Vec<String> {
        let mut packages = house();
        change(packages.iter_mut().find(|package| package.name == name).unwrap());
        check(&packages, &[])
    }

    fn source(name: &'static str, text: &str) -> Vec<String> {
        check(&house(), &[(name, TextFile { path: format!("{name}/src/x.rs"), text: text.into() })])
    }

    #[test]
    fn a_house_in_order_passes() {
        assert_eq!(check(&house(), &[]), [""; 0]);
    }

    #[test]
    fn the_workspace_as_it_stands_is_in_order() {
        run().unwrap();
    }

    #[test]
    fn a_lower_layer_that_uses_a_sibling_is_found_whatever_the_kind() {
        for lower in LOWER {
            for sibling in LAYERS.iter().map(|layer| layer.name).filter(|name| name != lower) {
                for kind in [None, Some("dev".to_owned()), Some("build".to_owned())] {
                    let found = after(lower, |package| {
                        package.dependencies.push(Dependency { kind: kind.clone(), ..dependency(sibling) });
                    });
                    assert_eq!(found.len(), 1, "{lower} -> {sibling} as {kind:?}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_may_use_the_tests_or_the_commands() {
        for top in ["pool-tests", "xtask"] {
            let found = after("pool-manager", |package| package.dependencies.push(dependency(top)));
            assert_eq!(found, [format!("pool-manager must not depend on {top} (normal dependency)")]);
        }
    }

    #[test]
    fn the_driver_is_found_where_it_does_not_belong() {
        for name in ["pool-core", "pool-cache", "pool-config", "pool-tests", "xtask"] {
            for driver in DRIVER {
                assert_eq!(
                    after(name, |package| package.dependencies.push(dependency(driver))).len(),
                    1,
                    "{name} -> {driver}"
                );
            }
        }
        assert!(after("pool-manager", |package| package.dependencies.push(dependency("rusqlite"))).is_empty());
    }

    #[test]
    fn the_driver_of_the_statement_pool_stays_behind_its_feature() {
        let optional = Dependency { optional: true, ..dependency("rusqlite") };
        assert!(after("pool-stmt", |package| package.dependencies.push(optional.clone())).is_empty());
        assert_eq!(after("pool-stmt", |package| package.dependencies.push(dependency("rusqlite"))).len(), 1);
        let found = after("pool-stmt", |package| {
            package.dependencies.push(optional.clone());
            package.features.insert("default".into(), vec!["sqlite".into()]);
            package.features.insert("sqlite".into(), vec!["dep:rusqlite".into()]);
        });
        assert_eq!(found, ["pool-stmt must not turn its driver on by default"]);
    }

    #[test]
    fn a_crate_nobody_placed_is_found() {
        let mut packages = house();
        packages.push(Package { name: "pool-new".into(), ..packages[0].clone() });
        assert_eq!(check(&packages, &[]), ["pool-new is not in the table of layers: say there what it may use"]);
        packages.truncate(LAYERS.len() - 1);
        assert_eq!(check(&packages, &[]).len(), 1);
    }

    #[test]
    fn names_in_the_sources_are_found_with_their_line() {
        assert_eq!(
            source("pool-core", "//! X.\nuse rusqlite::Connection;"),
            ["pool-core/src/x.rs:2: pool-core must not know rusqlite"]
        );
        assert_eq!(
            source("pool-cache", "/// As `pool_core::Pool` does."),
            ["pool-cache/src/x.rs:1: pool-cache must not know pool_core"]
        );
        assert_eq!(source("pool-stmt", "use pool_manager as _;").len(), 1);
        assert!(source("pool-stmt", "use rusqlite::Connection;").is_empty());
        assert!(source("pool-core", "use pool_core::Pool; // my_rusqlite_pool").is_empty());
    }
}
