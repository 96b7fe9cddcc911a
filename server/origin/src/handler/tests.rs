//! The origin over real HTTP and a real store.

use std::sync::Arc;

use async_trait::async_trait;
use shoal_api::{Base, EverybodyMay, OriginClient};
use shoal_http::{Client, Limits, Listener, Shutdown};
use shoal_oci::Algorithm;
use shoal_store::{Options, Store};
use shoal_swarm_types::PeerId;
use shoal_telemetry::SwarmMetrics;
use tokio::net::TcpListener;

use super::*;
use crate::origin::OriginOptions;

struct Fixture {
    _dir: tempfile::TempDir,
    store: Store,
    origin: Origin,
    base: Base,
    http: Client,
    shutdown: Shutdown,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Arc::new(EverybodyMay)).await
    }

    async fn with(rights: Arc<dyn Rights>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::durable()).unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = OriginOptions::new(PeerId([1; 20]), [0; 32]);
        let origin = Origin::start(peer, options, store.clone(), SwarmMetrics::default());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = Base::parse(&format!("http://{}", listener.local_addr())).unwrap();
        let shutdown = Shutdown::new();
        let handler = Arc::new(OriginHandler::new(origin.clone(), rights));
        tokio::spawn(listener.serve(handler, Limits::default(), shutdown.clone()));
        Self { _dir: dir, store, origin, base, http: Client::default(), shutdown }
    }

    fn put(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        self.store.put(&digest, content).unwrap();
        digest
    }

    async fn get(&self, path: &str, range: Option<&str>, method: Method) -> Response {
        let mut request = http::Request::builder().method(method).uri(self.base.url(path));
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        self.http
            .send(request.body(Body::empty()).unwrap(), std::time::Duration::from_secs(10))
            .await
            .unwrap()
    }
}

fn content(size: u32) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn whole_blobs_ranges_and_heads() {
    let fixture = Fixture::new().await;
    let bytes = content(300_000);
    let digest = fixture.put(&bytes);
    let path = format!("/blobs/{digest}");
    let whole = fixture.get(&path, None, Method::GET).await;
    assert_eq!(
        (whole.status(), &whole.headers()[header::CONTENT_LENGTH]),
        (StatusCode::OK, &"300000".parse().unwrap())
    );
    assert_eq!(whole.into_body().collect(1 << 20).await.unwrap(), bytes);
    for (range, want) in [
        ("bytes=0-0", 0..1),
        ("bytes=65530-65545", 65_530..65_546),
        ("bytes=-5", 299_995..300_000),
        ("bytes=100000-", 100_000..300_000),
    ] {
        let part = fixture.get(&path, Some(range), Method::GET).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.into_body().collect(1 << 20).await.unwrap(), bytes[want], "{range}");
    }
    let head = fixture.get(&path, None, Method::HEAD).await;
    assert_eq!(
        (head.status(), &head.headers()[header::CONTENT_LENGTH]),
        (StatusCode::OK, &"300000".parse().unwrap())
    );
    assert_eq!(head.into_body().collect(1 << 20).await.unwrap(), "");
    let beyond = fixture.get(&path, Some("bytes=300000-"), Method::GET).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()[header::CONTENT_RANGE], "bytes */300000");
    assert!(beyond.into_body().collect(1 << 10).await.unwrap().starts_with(b"{\"error\""));
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_refused_in_json() {
    let fixture = Fixture::new().await;
    let absent = Digest::sha256(b"absent");
    for (path, method, want) in [
        (format!("/blobs/{absent}"), Method::GET, StatusCode::NOT_FOUND),
        (format!("/blobs/{absent}/metainfo"), Method::GET, StatusCode::NOT_FOUND),
        (format!("/blobs/{absent}/other"), Method::GET, StatusCode::NOT_FOUND),
        ("/blobs/sha256:12".to_owned(), Method::GET, StatusCode::BAD_REQUEST),
        ("/blobs/..%2f..%2fetc".to_owned(), Method::GET, StatusCode::BAD_REQUEST),
        ("/".to_owned(), Method::GET, StatusCode::NOT_FOUND),
        (format!("/blobs/{absent}"), Method::DELETE, StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = fixture.get(&path, None, method).await;
        assert_eq!(answer.status(), want, "{path}");
        assert!(answer.into_body().collect(1 << 10).await.unwrap().starts_with(b"{\"error\""), "{path}");
    }
}

/// Gives what is in `team/app`; of `team/broken` nothing is known.
struct OnlyApp;

#[async_trait]
impl Rights for OnlyApp {
    async fn may_read(
        &self,
        _: &Member,
        repository: Option<&Repository>,
        _: &Digest,
    ) -> Result<bool, RightsError> {
        match repository.map(Repository::as_str) {
            Some("team/broken") => Err(RightsError("disk on fire".to_owned())),
            name => Ok(name == Some("team/app")),
        }
    }
}

#[tokio::test]
async fn whoever_may_not_read_a_blob_hears_that_it_is_not_here() {
    let fixture = Fixture::with(Arc::new(OnlyApp)).await;
    let (digest, absent) = (fixture.put(b"a layer"), Digest::sha256(b"absent"));
    let refusal = |digest: &Digest| format!("{{\"error\":\"this origin does not have {digest}\"}}");
    for path in ["", "/metainfo"] {
        for query in ["", "?repository=team/other"] {
            for digest in [digest, absent] {
                let answer = fixture.get(&format!("/blobs/{digest}{path}{query}"), None, Method::GET).await;
                assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}{query}");
                assert_eq!(answer.into_body().collect(1 << 10).await.unwrap(), refusal(&digest));
            }
        }
        for (name, want) in [
            ("team/app", StatusCode::OK),
            ("team%2Fapp", StatusCode::OK),
            ("team/broken", StatusCode::SERVICE_UNAVAILABLE),
            ("TEAM", StatusCode::BAD_REQUEST),
        ] {
            let path = format!("/blobs/{digest}{path}?repository={name}");
            assert_eq!(fixture.get(&path, None, Method::HEAD).await.status(), want, "{path}");
        }
    }
    let stranger = OriginClient::new(fixture.http.clone());
    let client = stranger.clone().within("team/app".parse().unwrap());
    assert_eq!(stranger.stat(&fixture.base, &digest).await.unwrap(), None);
    assert_eq!(client.stat(&fixture.base, &digest).await.unwrap(), Some(7));
    assert_eq!(stranger.metainfo(&fixture.base, &digest).await.unwrap(), None);
    assert_eq!(client.metainfo(&fixture.base, &digest).await.unwrap().unwrap().size(), 7);
    assert!(stranger.read(&fixture.base, &digest, 0..7).await.is_err());
    assert_eq!(client.read(&fixture.base, &digest, 2..7).await.unwrap(), "layer");
}

#[tokio::test]
async fn the_client_of_the_api_understands_the_origin() {
    let fixture = Fixture::new().await;
    let bytes = content(200_000);
    let (digest, empty) = (fixture.put(&bytes), fixture.put(b""));
    let long = Digest::of(Algorithm::Sha512, b"long");
    fixture.store.put(&long, b"long").unwrap();
    let client = OriginClient::new(fixture.http.clone());
    assert_eq!(client.stat(&fixture.base, &digest).await.unwrap(), Some(200_000));
    assert_eq!(client.stat(&fixture.base, &empty).await.unwrap(), Some(0));
    assert_eq!(client.stat(&fixture.base, &Digest::sha256(b"absent")).await.unwrap(), None);
    let metainfo = client.metainfo(&fixture.base, &digest).await.unwrap().unwrap();
    assert_eq!(metainfo, shoal_swarm_types::Metainfo::of(digest, &bytes));
    assert_eq!(client.metainfo(&fixture.base, &Digest::sha256(b"absent")).await.unwrap(), None);
    assert_eq!(client.read(&fixture.base, &digest, 65_000..70_000).await.unwrap(), bytes[65_000..70_000]);
    assert_eq!(client.read(&fixture.base, &long, 0..4).await.unwrap(), "long");
    assert!(client.read(&fixture.base, &digest, 199_999..200_001).await.is_err(), "shorter than asked for");
    assert!(client.read(&fixture.base, &digest, 5..5).await.is_err());
    fixture.shutdown.trigger();
    fixture.origin.shutdown().await;
}

#[tokio::test]
async fn a_damaged_blob_is_cut_and_then_set_aside() {
    let fixture = Fixture::new().await;
    let digest = fixture.put(&content(200_000));
    let file = largest_file(fixture._dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[150_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let whole = fixture.get(&format!("/blobs/{digest}"), None, Method::GET).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert!(whole.into_body().collect(1 << 20).await.is_err());
    let again = fixture.get(&format!("/blobs/{digest}"), Some("bytes=0-99"), Method::GET).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND, "the store has set it aside");
}

fn largest_file(dir: &std::path::Path) -> std::path::PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                files.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    files.sort();
    files.pop().unwrap().1
}

#[tokio::test]
async fn a_small_blob_is_given_at_once_or_refused_at_once() {
    let fixture = Fixture::new().await;
    let client = OriginClient::new(fixture.http.clone());
    let (bytes, large) = (content(1 << 20), content((1 << 20) + 1));
    let (digest, large) = (fixture.put(&bytes), fixture.put(&large));
    let url = fixture.base.url(&format!("/blobs/{digest}"));
    assert_eq!(client.read_whole(&url, 1 << 20, |_| {}).await.unwrap(), bytes);
    assert_eq!(client.read_whole(&url, 1 << 20, |_| {}).await.unwrap(), bytes, "from memory");
    assert!(client.read_whole(&url, (1 << 20) - 1, |_| {}).await.is_err(), "it has another size");
    let large = fixture.base.url(&format!("/blobs/{large}"));
    assert!(
        client.read_whole(&large, (1 << 20) + 1, |_| {}).await.is_err(),
        "larger ones wait for their turn"
    );
    // More than the allowance, by far: the rest is refused without waiting, and whoever waits for a turn still gets it.
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(fixture.origin.content(&digest, u64::MAX).await.is_err());
    }
    assert!(refused > 0);
    let busy = client.read_whole(&url, 1 << 20, |_| {}).await.unwrap_err();
    assert!(busy.to_string().contains("503"), "{busy}");
    let whole = fixture.get(&format!("/blobs/{digest}"), None, Method::GET).await;
    assert_eq!(whole.into_body().collect(2 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_small_blob_that_is_gone_is_not_given_from_memory() {
    let fixture = Fixture::new().await;
    let bytes = content(200_000);
    let digest = fixture.put(&bytes);
    assert_eq!(fixture.origin.content(&digest, u64::MAX).await.unwrap().unwrap(), bytes);
    assert_eq!(fixture.origin.content(&digest, 199_999).await.unwrap(), None);
    fixture.store.remove(&digest).unwrap();
    assert_eq!(fixture.origin.content(&digest, u64::MAX).await.unwrap(), None);
}
