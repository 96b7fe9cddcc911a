//! Who gets which blob: every kind of member, repository and guard.

use std::net::IpAddr;
use std::sync::Mutex;

use shoal_auth::{Denials, Policy, Rule, Settings};
use shoal_metadata::Embedded;
use shoal_tags::LocalTags;

use super::*;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Denials for Heard {
    fn denied(&self, denial: &Denial<'_>) {
        let name = denial.principal.map_or("", |principal| principal.name.as_str());
        let words = [name, denial.action, denial.repository.unwrap().as_str(), denial.reason];
        self.0.lock().unwrap().push(words.join(" "));
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    tags: Arc<dyn Tags>,
    heard: Arc<Heard>,
    /// Linked in `team/app` and in `public`.
    shared: Digest,
    /// Linked in `team/app`.
    private: Digest,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tags: Arc<dyn Tags> = Arc::new(LocalTags::new(Embedded::open(directory.path()).unwrap()));
        let (shared, private) = (Digest::sha256(b"shared"), Digest::sha256(b"private"));
        for (repository, digest) in [("team/app", &shared), ("public", &shared), ("team/app", &private)] {
            tags.link_blob(&name(repository), digest, 6, Vec::new()).await.unwrap();
        }
        Self { _directory: directory, tags, heard: Arc::default(), shared, private }
    }

    fn open(&self) -> LinkedRights {
        LinkedRights::new(Guard::open(), Arc::clone(&self.tags))
    }

    /// `node-1` pulls everything, everybody pulls `public`.
    fn guarded(&self, certificates: bool) -> LinkedRights {
        let rule = |subject: &str, repositories: &str| Rule {
            subjects: vec![subject.to_owned()],
            repositories: vec![repositories.to_owned()],
            actions: vec!["pull".to_owned()],
        };
        let rules = [rule("certificate:node-1", "**"), rule("anonymous", "public")];
        let policy = Policy::new(&rules, &[]).unwrap();
        let denials: Arc<dyn Denials> = self.heard.clone();
        let settings = Settings { certificates, policy, denials, ..Settings::default() };
        LinkedRights::new(Guard::new(settings, None).unwrap(), Arc::clone(&self.tags))
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.0.lock().unwrap())
    }
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn keyed() -> Member {
    Member::from(IpAddr::from([10, 0, 0, 1]))
}

fn certified(common_name: Option<&str>) -> Member {
    let certificate =
        PeerCertificate { common_name: common_name.map(str::to_owned), ..PeerCertificate::default() };
    Member { certificate: Some(Arc::new(certificate)), ..keyed() }
}

/// The repositories, and none, in which `member` gets `digest`.
async fn given(rights: &LinkedRights, member: &Member, digest: &Digest) -> Vec<&'static str> {
    let mut given = Vec::new();
    for repository in ["", "public", "team/app", "team/other"] {
        let named = (!repository.is_empty()).then(|| name(repository));
        if rights.may_read(member, named.as_ref(), digest).await.unwrap() {
            given.push(repository);
        }
    }
    given
}

const EVERYWHERE: [&str; 4] = ["", "public", "team/app", "team/other"];

#[tokio::test]
async fn without_auth_everybody_gets_what_some_repository_has() {
    let fixture = Fixture::new().await;
    let rights = fixture.open();
    for member in [keyed(), certified(Some("node-9"))] {
        assert_eq!(given(&rights, &member, &fixture.private).await, EVERYWHERE);
        assert!(given(&rights, &member, &Digest::sha256(b"never linked")).await.is_empty());
    }
}

#[tokio::test]
async fn a_blob_that_is_deleted_everywhere_is_gone_at_once() {
    let fixture = Fixture::new().await;
    let (open, guarded) = (fixture.open(), fixture.guarded(true));
    let member = certified(Some("node-1"));
    // Asked before, so that every cache has seen it.
    assert_eq!(given(&open, &member, &fixture.shared).await, EVERYWHERE);
    assert_eq!(given(&guarded, &member, &fixture.shared).await, ["public", "team/app"]);
    fixture.tags.unlink_blob(&name("team/app"), &fixture.shared, Vec::new()).await.unwrap();
    assert_eq!(given(&open, &member, &fixture.shared).await, EVERYWHERE, "another repository has it");
    assert_eq!(given(&guarded, &member, &fixture.shared).await, ["public"]);
    fixture.tags.unlink_blob(&name("public"), &fixture.shared, Vec::new()).await.unwrap();
    for rights in [&open, &guarded] {
        assert!(given(rights, &member, &fixture.shared).await.is_empty());
    }
}

#[tokio::test]
async fn a_certificate_gets_what_the_policy_gives_its_names() {
    let fixture = Fixture::new().await;
    let rights = fixture.guarded(true);
    let known = certified(Some("node-1"));
    assert_eq!(given(&rights, &known, &fixture.private).await, ["team/app"]);
    assert_eq!(given(&rights, &known, &fixture.shared).await, ["public", "team/app"]);
    assert!(fixture.heard().is_empty());
    for other in [certified(Some("node-2")), certified(None)] {
        assert!(given(&rights, &other, &fixture.private).await.is_empty());
        assert_eq!(given(&rights, &other, &fixture.shared).await, ["public"]);
    }
}

#[tokio::test]
async fn a_refusal_by_the_policy_is_reported_and_a_blob_that_is_not_there_is_not() {
    let fixture = Fixture::new().await;
    let rights = fixture.guarded(true);
    let (known, other) = (certified(Some("node-1")), certified(Some("node-2")));
    rights.may_read(&known, Some(&name("team/other")), &fixture.private).await.unwrap();
    rights.may_read(&other, None, &fixture.private).await.unwrap();
    assert!(fixture.heard().is_empty());
    rights.may_read(&other, Some(&name("team/app")), &fixture.private).await.unwrap();
    assert_eq!(fixture.heard(), ["node-2 pull team/app policy"]);
}

#[tokio::test]
async fn a_member_without_identity_gets_what_is_in_the_repository_that_it_names() {
    let fixture = Fixture::new().await;
    for (rights, member) in
        [(fixture.guarded(true), keyed()), (fixture.guarded(false), certified(Some("node-2")))]
    {
        assert_eq!(given(&rights, &member, &fixture.private).await, ["team/app"]);
        assert_eq!(given(&rights, &member, &fixture.shared).await, ["public", "team/app"]);
    }
}
