//! Which crate may depend on which. A new edge is a door between rooms: it needs a line here and a reason.
//!
//! Data flows downhill. The table is in the order of the layers, and a row may only name rows above it.

use std::collections::BTreeSet;

use super::Violation;
use crate::workspace::{Metadata, Package};

/// `(crate, workspace crates it may use)`, lowest layer first; names without their `shoal-`.
const ALLOWED: &[(&str, &[&str])] = &[
    // Words and pure arithmetic.
    ("oci", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("auth", &["oci"]),
    ("ring", &["oci"]),
    ("swarm-types", &["oci"]),
    // Both sides of a grant: the server that gives it, every peer that judges it.
    ("grant", &["oci", "swarm-types"]),
    // One heavy dependency each.
    ("http", &["telemetry"]),
    // The network of strangers: tokens, proxies, credential files, the guard over addresses.
    ("upstream", &["oci", "http", "config", "telemetry"]),
    ("metadata", &["oci", "telemetry"]),
    ("swarm-protocol", &["oci", "swarm-types"]),
    ("swarm-sim", &["oci", "swarm-types", "swarm-protocol"]),
    ("store", &["oci", "swarm-types"]),
    ("api", &["oci", "ring", "swarm-types", "http"]),
    ("swarm", &["oci", "swarm-types", "swarm-protocol", "store", "telemetry"]),
    // Roles of the server: they meet in `api` and never import one another.
    ("registry", &["oci", "auth", "store", "api", "http", "telemetry"]),
    ("tags", &["oci", "metadata", "api", "http", "telemetry"]),
    ("tracker", &["oci", "ring", "swarm-types", "api", "http", "telemetry"]),
    ("origin", &["oci", "ring", "swarm-types", "metadata", "store", "swarm", "api", "http", "telemetry"]),
    // Work in the background of the server; like the roles, they meet others only through `api`.
    ("collect", &["oci", "metadata", "store", "api", "telemetry"]),
    ("events", &["oci", "metadata", "api", "http", "telemetry"]),
    ("copies", &["oci", "upstream", "api", "http", "telemetry"]),
    // Programs.
    ("agent", &["oci", "grant", "swarm-types", "store", "swarm", "api", "http", "config", "telemetry"]),
    (
        "server",
        &[
            "oci",
            "ring",
            "swarm-types",
            "metadata",
            "store",
            "swarm",
            "api",
            "http",
            "config",
            "telemetry",
            "registry",
            "tags",
            "tracker",
            "origin",
            "auth",
            "grant",
            "collect",
            "events",
            "upstream",
            "copies",
        ],
    ),
    ("ctl", &["oci", "auth", "ring", "swarm-types", "api", "http"]),
    // Developer's tools: they drive the programs from outside. Only the lying peer of the tests needs the swarm's words.
    ("test-images", &["oci"]),
    ("e2e", &["oci", "http", "swarm-types", "swarm-protocol", "test-images"]),
    // The programs only so that one set of features is resolved for them and for the tools; see its Cargo.toml.
    // The tracker and what it takes to run it: one bench measures it alone.
    (
        "xtask",
        &[
            "oci",
            "test-images",
            "swarm-sim",
            "e2e",
            "agent",
            "server",
            "tracker",
            "api",
            "http",
            "ring",
            "swarm-types",
            "telemetry",
        ],
    ),
];

/// Roles of the server, which know each other only through `api`. Their tests may wire a real sibling behind such a trait.
const SIBLINGS: &[&str] = &["registry", "tags", "tracker", "origin"];

/// Crates without disk, network or clock.
const PURE: &[&str] = &["oci", "ring", "swarm-types", "swarm-protocol", "swarm-sim"];
/// What would bring disk, network or clock into a pure crate.
const IMPURE: &[&str] =
    &["tokio", "hyper", "hyper-util", "nix", "rusqlite", "tempfile", "tracing-subscriber"];

/// Compares the manifests with the table.
pub(super) fn check(metadata: &Metadata) -> Vec<Violation> {
    let mut found: Vec<Violation> = metadata.packages.iter().flat_map(check_package).collect();
    let present: BTreeSet<&str> = metadata.packages.iter().map(|package| room(&package.name)).collect();
    for (name, _) in ALLOWED {
        if !present.contains(name) {
            found.push(Violation {
                place: "hack/xtask/src/tidy/edges.rs".to_owned(),
                what: format!("there is a row for `{name}`, which is not in the workspace"),
                remedy: "remove the row",
            });
        }
    }
    found
}

fn check_package(package: &Package) -> Vec<Violation> {
    let name = room(&package.name);
    let Some((_, allowed)) = ALLOWED.iter().find(|(row, _)| *row == name) else {
        return vec![Violation {
            place: package.name.clone(),
            what: "the crate has no row in the table of edges".to_owned(),
            remedy: "add a row to hack/xtask/src/tidy/edges.rs and the crate to ARCHITECTURE.md",
        }];
    };
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        let other = room(&dependency.name);
        let is_room = other != dependency.name;
        if is_room && dependency.kind.is_none() && !allowed.contains(&other) {
            found.push(Violation {
                place: package.name.clone(),
                what: format!("depends on `{}`, which the table of edges does not allow", dependency.name),
                remedy: "data flows downhill: pass a value or a trait of `api`; a new door needs a row in edges.rs",
            });
        }
        if is_room && dependency.kind.is_none() && SIBLINGS.contains(&name) && SIBLINGS.contains(&other) {
            found.push(Violation {
                place: package.name.clone(),
                what: format!("imports its sibling `{}`", dependency.name),
                remedy: "roles meet in the traits of `api`; only tests may wire a real sibling behind one",
            });
        }
        if PURE.contains(&name) && dependency.kind.is_none() && IMPURE.contains(&dependency.name.as_str()) {
            found.push(Violation {
                place: package.name.clone(),
                what: format!("is pure, and depends on `{}`", dependency.name),
                remedy: "leave disk, network and clock to the crate that drives this one",
            });
        }
    }
    found
}

/// The crate's name in the table.
fn room(package: &str) -> &str {
    package.strip_prefix("shoal-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(str::to_owned) })
            .collect();
        Package { name: name.into(), manifest_path: "Cargo.toml".into(), dependencies, targets: vec![] }
    }

    #[test]
    fn the_table_only_points_upwards_in_itself() {
        for (index, (name, allowed)) in ALLOWED.iter().enumerate() {
            for other in *allowed {
                assert!(ALLOWED[..index].iter().any(|(row, _)| row == other), "{name} → {other}");
            }
        }
        for sibling in SIBLINGS {
            let (_, allowed) = ALLOWED.iter().find(|(row, _)| row == sibling).unwrap();
            assert!(allowed.iter().all(|other| !SIBLINGS.contains(other)));
        }
    }

    #[test]
    fn siblings_meet_in_tests_only() {
        assert!(check_package(&package("shoal-registry", &[("shoal-tags", Some("dev"))])).is_empty());
        // Neither in the table nor allowed to siblings.
        assert_eq!(check_package(&package("shoal-registry", &[("shoal-tags", None)])).len(), 2);
    }

    #[test]
    fn forbidden_edges_are_found() {
        assert!(check_package(&package("shoal-swarm", &[("shoal-store", None), ("tokio", None)])).is_empty());
        for (name, dependency, kind) in [
            ("shoal-store", "shoal-swarm", None),
            ("shoal-store", "shoal-telemetry", None),
            ("shoal-oci", "tokio", None),
            ("shoal-unheard-of", "bytes", None),
        ] {
            assert_eq!(
                check_package(&package(name, &[(dependency, kind)])).len(),
                1,
                "{name} → {dependency}"
            );
        }
    }
}
