//! What an older program stored is kept.

use rusqlite::params;

use super::*;
use crate::clock;
use crate::upkeep::Upkeep as _;

/// A digest as version 1 writes it.
fn column(text: &str) -> Vec<u8> {
    let mut column = vec![1];
    column.extend_from_slice(Digest::sha256(text.as_bytes()).as_bytes());
    column
}

/// A database of version 1: two repositories with content and an empty one.
fn of_version_1(directory: &Path) {
    let connection = Connection::open(directory.join(DATABASE)).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| connection.execute(sql, parameters).unwrap();
    run("INSERT INTO repositories VALUES (1, 'a'), (2, 'team/b'), (3, 'empty')", &[]);
    for (repository, blob) in [(1, "used"), (1, "free"), (2, "used")] {
        run("INSERT INTO links VALUES (?1, ?2, 5)", params![repository, column(blob)]);
    }
    let insert = "INSERT INTO manifests VALUES (?1, ?2, ?3, 'a/b', ?4, 'sbom', '{\"k\":\"v\"}', ?5)";
    run(insert, params![1, 1, column("index"), None::<Vec<u8>>, b"index"]);
    run(insert, params![2, 1, column("child"), Some(column("index")), b"child"]);
    run(insert, params![3, 2, column("index"), None::<Vec<u8>>, b"index"]);
    run("INSERT INTO tags VALUES (1, 'v1', 1), (1, 'latest', 1), (2, 'v1', 3)", &[]);
    run(
        "INSERT INTO refs VALUES (1, ?1, 2), (2, ?2, 0), (3, ?2, 0)",
        params![column("child"), column("used")],
    );
}

#[tokio::test]
async fn a_store_of_version_1_keeps_everything_and_all_of_it_counts_as_new() {
    let directory = tempfile::tempdir().unwrap();
    of_version_1(directory.path());
    let before = clock::now();
    let catalog = Embedded::open(directory.path()).unwrap();
    let (a, b) = (name("a"), name("team/b"));
    let digest = |text: &str| Digest::sha256(text.as_bytes());
    for repository in [&a, &b] {
        let found = catalog.manifest(repository, &Reference::Tag(tag("v1"))).await.unwrap().unwrap();
        assert_eq!(
            (found.digest, &found.bytes[..], &*found.media_type),
            (digest("index"), &b"index"[..], "a/b")
        );
        assert_eq!(catalog.blob_in(repository, &digest("used")).await, Ok(Some(5)));
    }
    let page = PageAfter { last: None, limit: 10 };
    let referrers = catalog.referrers(&a, &digest("index"), Some("sbom"), page.clone()).await.unwrap().items;
    assert_eq!((referrers[0].digest, &*referrers[0].annotations["k"]), (digest("child"), "v"));
    assert_eq!(catalog.repositories(page.clone()).await.unwrap().items, [a.clone(), b]);
    assert_eq!(catalog.tags(&a, page).await.unwrap().unwrap().items, [tag("latest"), tag("v1")]);
    let walk = catalog.walk_repositories(None, 10).await.unwrap();
    assert_eq!((walk.items.len(), walk.faults.len()), (2, 0));
    let tags = catalog.walk_tags(&a, None, 10).await.unwrap().items;
    assert!(tags.iter().all(|record| record.moved_at >= before && record.pulled_at.is_none()));
    let manifests = catalog.walk_manifests(&a, None, 10).await.unwrap();
    assert_eq!((manifests.items.len(), manifests.faults.len()), (2, 0));
    assert!(manifests.items.iter().all(|record| record.pushed_at >= before));
    let child = manifests.items.iter().find(|record| record.digest == digest("child")).unwrap();
    assert!(child.referenced && child.subject_present && !child.tagged);
    // What is referenced is known, and what is not is new.
    assert_eq!(catalog.unreferenced_links(None, before, 10).await.unwrap().items, []);
    let free = catalog.unreferenced_links(None, clock::now() + 1, 10).await.unwrap().items;
    assert_eq!(
        free.iter().map(|link| (&link.repository, link.digest)).collect::<Vec<_>>(),
        [(&a, digest("free"))]
    );
    // And it goes on.
    put(&catalog, 1).await;
    drop(catalog);
    assert_has(&Embedded::open(directory.path()).unwrap(), 1).await;
}

#[test]
fn a_migration_that_fails_leaves_the_store_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    of_version_1(directory.path());
    let path = directory.path().join(DATABASE);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE outbox (in_the_way)").unwrap();
    assert!(Embedded::open(directory.path()).is_err());
    let columns = connection.prepare("SELECT * FROM links").unwrap().column_count();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((columns, version), (3, 1));
    connection.execute_batch("DROP TABLE outbox").unwrap();
    drop(connection);
    assert!(Embedded::open(directory.path()).is_ok());
}
