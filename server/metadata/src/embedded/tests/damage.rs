//! What cannot be read is told, and everything else goes on.

use super::*;
use crate::clock;
use crate::upkeep::{Cursor, Fault, Upkeep, Walk};

/// A second connection, as an operator's shell would have one.
fn shell(directory: &TempDir) -> Connection {
    Connection::open(directory.path().join(DATABASE)).unwrap()
}

fn later() -> u64 {
    clock::now() + 60_000
}

/// All items and faults of a walk.
async fn all<T, Fut>(step: impl Fn(Option<Cursor>) -> Fut) -> (Vec<T>, Vec<Fault>)
where
    Fut: Future<Output = Result<Walk<T>>>,
{
    let (mut items, mut faults, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let walk = step(after).await.unwrap();
        items.extend(walk.items);
        faults.extend(walk.faults);
        after = walk.next;
        if after.is_none() {
            return (items, faults);
        }
    }
}

async fn link(catalog: &Embedded, repository: &str, content: &str) {
    let digest = Digest::sha256(content.as_bytes());
    catalog.link_blob(&name(repository), &digest, 1, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_row_is_told_and_passed_over() {
    let (catalog, directory) = open();
    for repository in ["a", "b"] {
        for index in 0..10 {
            link(&catalog, repository, &index.to_string()).await;
            put(&catalog, index).await;
        }
    }
    let shell = shell(&directory);
    shell
        .execute_batch(
            "UPDATE links SET digest = x'09ff' WHERE digest = (SELECT min(digest) FROM links) AND repository = 1;
             UPDATE links SET size = -1 WHERE digest = (SELECT max(digest) FROM links WHERE repository = 2) AND repository = 2;
             UPDATE tags SET name = CAST(x'ff' AS TEXT) WHERE name = 'v3';
             UPDATE manifests SET digest = x'02' WHERE id = (SELECT manifest FROM tags WHERE name = 'v4');
             DELETE FROM manifest_times WHERE manifest = (SELECT manifest FROM tags WHERE name = 'v5');
             INSERT INTO repositories (name) VALUES ('NOT/A/NAME'), (CAST(x'ff' AS TEXT))",
        )
        .unwrap();
    for limit in [1, 3, 100] {
        let (links, faults) = all(|after| catalog.unreferenced_links(after, later(), limit)).await;
        assert_eq!((links.len(), faults.len()), (18, 2), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.row.contains("x'09ff'") && fault.why.contains("digest")));
        let a = name("a");
        let (tags, faults) = all(|after| catalog.walk_tags(&a, after, limit)).await;
        assert_eq!((tags.len(), faults.len()), (9, 2), "{tags:?} {faults:?}"); // v3 and v4 of latest and v0..v9
        let (manifests, faults) = all(|after| catalog.walk_manifests(&a, after, limit)).await;
        assert_eq!((manifests.len(), faults.len()), (8, 2), "{faults:?}");
        let (repositories, faults) = all(|after| catalog.walk_repositories(after, limit)).await;
        assert_eq!((repositories.len(), faults.len()), (2, 2), "{faults:?}");
    }
    // The rest is collected all the same.
    let (links, _) = all(|after| catalog.unreferenced_links(after, later(), 5)).await;
    for found in links {
        let removed = catalog.remove_link_if_unreferenced(&found.repository, &found.digest, later()).await;
        assert_eq!(removed, Ok(true));
    }
}

#[tokio::test]
async fn a_damaged_page_of_the_file_costs_its_repository_only() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Embedded::open(directory.path()).unwrap();
    for repository in ["a", "b", "c"] {
        for index in 0..300 {
            link(&catalog, repository, &format!("{repository} {index}")).await;
        }
    }
    drop(catalog);
    let path = directory.path().join(DATABASE);
    let mut file = std::fs::read(&path).unwrap();
    // Whatever page holds this link, in the table or in its index.
    let victim = Digest::sha256(b"b 150");
    let at: Vec<usize> =
        (0..file.len() - 32).filter(|at| file[*at..*at + 32] == *victim.as_bytes()).collect();
    assert!(!at.is_empty());
    for at in at {
        file[at / 4096 * 4096] = 0x55;
    }
    std::fs::write(&path, file).unwrap();
    let catalog = Embedded::open(directory.path()).unwrap();
    let (links, faults) = all(|after| catalog.unreferenced_links(after, later(), 50)).await;
    assert!(!faults.is_empty());
    let count = |repository: &str| links.iter().filter(|link| link.repository == name(repository)).count();
    assert_eq!(count("c"), 300, "the walk went on behind the damage: {faults:?}");
    assert!(count("a") > 0 && count("b") < 300);
}
