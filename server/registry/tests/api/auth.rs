//! Who may do what: every route and action, for every kind of caller.

mod mounts;
mod tags;
mod tokens;

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shoal_auth::{Denial, Denials, FailureLimits, Guard, Immutable, Policy, Rule, Settings, TokenSettings};
use shoal_http::Body;
use shoal_oci::Digest;
use shoal_registry::RegistryOptions;
use shoal_store::Options;
use tempfile::TempDir;

use crate::images::{OCI_MANIFEST, document, image};
use crate::world::{Reply, World};

/// Cost 4, so that a hundred logins take no time: the password is the name.
fn line(name: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(name, 4).unwrap())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Refusals as `action repository reason`.
#[derive(Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Vec<String>>>);

impl Denials for Refused {
    fn denied(&self, denial: &Denial<'_>) {
        let repository = denial.repository.map_or("-", |repository| repository.as_str());
        let who = denial.principal.map_or("?".to_owned(), ToString::to_string);
        self.0.lock().unwrap().push(format!("{who} {} {repository} {}", denial.action, denial.reason));
    }
}

impl Refused {
    fn last(&self) -> String {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

/// A registry with accounts.
pub(crate) struct Secured {
    pub(crate) world: World,
    pub(crate) refused: Refused,
    _files: TempDir,
}

/// The rules of these tests. `reader`, `creator`, `mover`, `pusher`, `remover` and `boss` have what their names say, on `team/**`.
fn rules() -> Vec<Rule> {
    let rule = |subjects: &str, repositories: &str, actions: &str| Rule {
        subjects: words(subjects),
        repositories: words(repositories),
        actions: words(actions),
    };
    vec![
        rule("anonymous", "public/**", "pull"),
        rule("reader", "team/**", "pull"),
        rule("creator", "team/**", "pull create"),
        rule("mover", "team/**", "pull overwrite"),
        rule("pusher", "team/** public/** other/**", "pull push"),
        rule("blind", "team/**", "push"),
        rule("remover", "team/**", "pull delete"),
        rule("boss", "**", "admin"),
    ]
}

impl Secured {
    pub(crate) fn new() -> Self {
        Self::with(true)
    }

    pub(crate) fn with(tokens: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let htpasswd = files.path().join("htpasswd");
        let names = ["reader", "creator", "mover", "pusher", "blind", "remover", "boss", "stranger"];
        std::fs::write(&htpasswd, names.map(line).concat()).unwrap();
        let immutable = Immutable { repositories: words("team/**"), tags: words("v*") };
        let refused = Refused::default();
        let settings = Settings {
            htpasswd: Some(htpasswd),
            token: tokens.then(|| TokenSettings {
                service: "shoal".to_owned(),
                issuer: "shoal".to_owned(),
                realm: None,
                key_file: files.path().join("token.pem"),
                verification_keys: Vec::new(),
                lifetime: std::time::Duration::from_secs(300),
                refresh_lifetime: std::time::Duration::from_secs(3600),
            }),
            policy: Policy::new(&rules(), &[immutable]).unwrap(),
            failures: FailureLimits { per_address: 20, ..FailureLimits::default() },
            denials: Arc::new(refused.clone()),
            ..Settings::default()
        };
        let guard = Guard::new(settings, None).unwrap();
        let options = RegistryOptions { guard, ..RegistryOptions::default() };
        Self { world: World::with(Options::durable(), options), refused, _files: files }
    }

    /// A request as `name`, or as nobody with an empty name.
    pub(crate) async fn send(&self, name: &str, method: &str, path: &str, body: impl Into<Body>) -> Reply {
        let mut call = self.world.call(method, path).header("host", "r.example:5000");
        if !name.is_empty() {
            call = call.header("authorization", basic(name));
        }
        call.send(body).await
    }

    pub(crate) async fn get(&self, name: &str, path: &str) -> Reply {
        self.send(name, "GET", path, Body::empty()).await
    }

    pub(crate) async fn push_blob(&self, name: &str, repository: &str, content: &'static str) -> Digest {
        let digest = Digest::sha256(content.as_bytes());
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send(name, "POST", &path, content).await.expect(201);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        repository: &str,
        tag: &str,
        config: &'static str,
    ) -> Reply {
        self.push_blob("boss", repository, config).await;
        let bytes = document(&image(config.as_bytes(), &[]));
        self.world
            .call("PUT", format!("/v2/{repository}/manifests/{tag}"))
            .header("authorization", basic(name))
            .header("content-type", OCI_MANIFEST)
            .send(bytes)
            .await
    }
}

pub(crate) fn basic(name: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{name}")))
}

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Every route with every method that it knows.
fn requests(repository: &str) -> Vec<(&'static str, String, &'static str)> {
    let at = |rest: &str| format!("/v2/{repository}/{rest}");
    let session = at("blobs/uploads/0123456789abcdef0123456789abcdef");
    let (blob, referrers) = (at(&format!("blobs/{EMPTY}")), at(&format!("referrers/{EMPTY}")));
    let mut all = vec![
        ("GET", at("tags/list"), "pull"),
        ("GET", at("_oci/ext/discover"), "pull"),
        ("POST", at("blobs/uploads/"), "push"),
        ("POST", at(&format!("blobs/uploads/?digest={EMPTY}")), "push"),
        ("POST", at(&format!("blobs/uploads/?mount={EMPTY}&from=public/a")), "push"),
        ("PUT", format!("{session}?digest={EMPTY}"), "push"),
        ("DELETE", blob.clone(), "delete"),
        ("GET", referrers, "pull"),
    ];
    for method in ["GET", "HEAD"] {
        all.push((method, blob.clone(), "pull"));
        all.push((method, at("manifests/latest"), "pull"));
        all.push((method, at(&format!("manifests/{EMPTY}")), "pull"));
    }
    for reference in ["latest", EMPTY] {
        all.push(("PUT", at(&format!("manifests/{reference}")), "push"));
        all.push(("DELETE", at(&format!("manifests/{reference}")), "delete"));
    }
    all.extend(["GET", "PATCH", "DELETE"].map(|method| (method, session.clone(), "push")));
    all
}

#[tokio::test]
async fn without_credentials_every_route_asks_for_them_and_says_for_what() {
    let secured = Secured::new();
    for (method, path, action) in requests("team/a") {
        let reply = secured.send("", method, &path, Body::empty()).await;
        reply.expect(401);
        let challenge = reply.header("www-authenticate");
        let actions = if action == "push" { "pull,push" } else { action };
        let wanted = format!(
            r#"Bearer realm="http://r.example:5000/token",service="shoal",scope="repository:team/a:{actions}"#
        );
        assert!(challenge.starts_with(&wanted), "{method} {path}: {challenge}");
        if method != "HEAD" {
            reply.expect_error(401, "UNAUTHORIZED");
        }
    }
    secured.get("", "/v2/_catalog").await.expect(200);
}

#[tokio::test]
async fn each_right_opens_its_routes_and_no_others() {
    let secured = Secured::new();
    for (name, rights) in [
        ("reader", "pull"),
        ("creator", "pull push"),
        ("mover", "pull push"),
        ("pusher", "pull push"),
        ("blind", "push"),
        ("remover", "pull delete"),
        ("boss", "pull push delete"),
        ("stranger", ""),
    ] {
        for (method, path, action) in requests("team/a") {
            let reply = secured.send(name, method, &path, Body::empty()).await;
            let what = format!("{name}: {method} {path}");
            if rights.contains(action) {
                // It is empty, so the answer is about the content, or that it was made.
                assert!(![401, 403].contains(&reply.status), "{what}: {}", reply.status);
            } else if action == "pull" {
                reply.expect(404);
                assert_eq!(secured.refused.last(), format!("{name} pull team/a policy"), "{what}");
            } else {
                reply.expect_error(403, "DENIED");
                assert_eq!(secured.refused.last(), format!("{name} {action} team/a policy"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_may_not_be_read_looks_the_same_whether_it_is_there_or_not() {
    let secured = Secured::new();
    let digest = secured.push_blob("boss", "team/a", "there").await;
    let manifest = secured.put_manifest("boss", "team/a", "latest", "{}").await;
    let manifest = manifest.expect(201).header("docker-content-digest").to_owned();
    for rest in [
        format!("blobs/{digest}"),
        "manifests/latest".to_owned(),
        format!("manifests/{manifest}"),
        "tags/list".to_owned(),
        format!("referrers/{manifest}"),
    ] {
        let there = secured.get("stranger", &format!("/v2/team/a/{rest}")).await;
        let not_there = secured.get("stranger", &format!("/v2/team/b/{rest}")).await;
        assert_eq!(there.status, 404, "{rest}");
        assert_eq!((there.status, there.code()), (not_there.status, not_there.code()), "{rest}");
        let text = |reply: &Reply| String::from_utf8_lossy(reply.body()).replace("team/b", "team/a");
        assert_eq!(text(&there), text(&not_there), "{rest}");
        // And as it looks to somebody who may read, where it is really not there.
        if !rest.starts_with("referrers") {
            let empty = secured.get("reader", &format!("/v2/team/b/{rest}")).await;
            assert_eq!(text(&there), text(&empty), "{rest}");
        }
    }
}

#[tokio::test]
async fn the_base_asks_everybody_to_log_in_first() {
    let secured = Secured::new();
    let reply = secured.get("", "/v2/").await;
    reply.expect_error(401, "UNAUTHORIZED");
    assert_eq!(
        reply.header("www-authenticate"),
        r#"Bearer realm="http://r.example:5000/token",service="shoal""#
    );
    assert_eq!(secured.refused.last(), "", "asking is no refusal");
    secured.get("stranger", "/v2/").await.expect(200);
    let podman =
        secured.world.call("GET", "/v2/").header("authorization", "Basic Og==").send(Body::empty()).await;
    podman.expect(401);
    // What is public can be read without any of that.
    let digest = secured.push_blob("boss", "public/a", "content").await;
    secured.get("", &format!("/v2/public/a/blobs/{digest}")).await.expect(200);
    secured.get("stranger", &format!("/v2/public/a/blobs/{digest}")).await.expect(200);
}

#[tokio::test]
async fn without_tokens_clients_are_asked_for_a_password() {
    let secured = Secured::with(false);
    let reply = secured.get("", "/v2/").await;
    assert_eq!(reply.expect(401).header("www-authenticate"), r#"Basic realm="shoal", charset="UTF-8""#);
    secured.get("reader", "/v2/").await.expect(200);
    secured.get("", "/token").await.expect(404);
}

#[tokio::test]
async fn bad_credentials_are_refused_even_where_none_are_needed() {
    let secured = Secured::new();
    secured.push_blob("boss", "public/a", "content").await;
    for header in [
        "Basic !!".to_owned(),
        "Bearer x.y.z".to_owned(),
        "Digest x".to_owned(),
        format!("Basic {}", STANDARD.encode("reader:wrong")),
        format!("Bearer {}", "a".repeat(1 << 20)),
    ] {
        let call = secured.world.call("GET", "/v2/public/a/tags/list").header("authorization", &header);
        call.send(Body::empty()).await.expect_error(401, "UNAUTHORIZED");
    }
    let twice = secured.world.call("GET", "/v2/").header("authorization", basic("boss"));
    twice.header("authorization", basic("reader")).send(Body::empty()).await.expect(401);
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_address() {
    let secured = Secured::new();
    let wrong = format!("Basic {}", STANDARD.encode("reader:wrong"));
    let guess = || secured.world.call("GET", "/v2/").header("authorization", &wrong).send(Body::empty());
    for _ in 0..20 {
        guess().await.expect(401);
    }
    // The window may turn in between, and then half of the failures count.
    let mut reply = guess().await;
    for _ in 0..40 {
        if reply.status == 429 {
            break;
        }
        reply = guess().await;
    }
    reply.expect_error(429, "TOOMANYREQUESTS");
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(secured.refused.last(), "? login - too_many_attempts");
}

#[tokio::test]
async fn the_catalog_shows_what_may_be_pulled_in_full_pages() {
    let secured = Secured::new();
    for number in 0..4 {
        secured.push_blob("boss", &format!("public/p{number}"), "content").await;
        secured.push_blob("boss", &format!("secret/s{number}"), "content").await;
        secured.push_blob("boss", &format!("team/t{number}"), "content").await;
    }
    let names = |reply: &Reply| reply.json()["repositories"].as_array().unwrap().len();
    assert_eq!(names(&secured.get("boss", "/v2/_catalog").await), 12);
    assert_eq!(names(&secured.get("reader", "/v2/_catalog").await), 8);
    let public = secured.get("stranger", "/v2/_catalog").await;
    assert_eq!(names(&public), 4);
    assert!(!String::from_utf8_lossy(public.body()).contains("secret"));
    let (mut path, mut seen) = ("/v2/_catalog?n=3".to_owned(), 0);
    for pages in 1.. {
        let page = secured.get("reader", &path).await;
        seen += names(&page);
        assert!(!page.header("link").contains("secret"), "{}", page.header("link"));
        let Some(next) = page.header("link").split(['<', '>']).nth(1).map(str::to_owned) else {
            assert_eq!((pages, seen), (3, 8));
            break;
        };
        assert_eq!(names(&page), 3);
        path = next;
    }
    assert_eq!(names(&secured.get("stranger", "/v2/_catalog?n=4").await), 4);
    assert_eq!(
        secured.get("stranger", "/v2/_catalog?n=4").await.header("link"),
        "",
        "nothing that they may see follows"
    );
    assert_eq!(names(&secured.get("reader", "/v2/_catalog?n=0").await), 0);
}
