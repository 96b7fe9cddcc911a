//! Manifests: what is believed, and what each failure is called.

use std::time::{Duration, Instant};

use shoal_oci::{Digest, MANIFEST_SIZE_MAX, Reference, media_type};
use shoal_telemetry::{Metrics, UpstreamMetrics};
use shoal_upstream::{UpstreamError, UpstreamErrorKind};

use crate::fake::{Fake, answer, broken, client, client_with, never, repository};

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

fn tag() -> Reference {
    "v1".parse().unwrap()
}

#[tokio::test]
async fn a_manifest_comes_byte_for_byte_with_its_type() {
    let digest = Digest::sha256(MANIFEST.as_bytes());
    let stated = digest.to_string();
    let fake = Fake::start(move |asked, _| {
        let headers = [("docker-content-digest", stated.as_str()), ("content-type", media_type::OCI_INDEX)];
        answer(200, &headers, if asked.method == "HEAD" { "" } else { MANIFEST })
    })
    .await;
    let upstream = fake.client();
    let head = upstream.head_manifest(&repository(), &tag(), None).await.unwrap();
    assert_eq!(head.digest, Some(digest));
    let found = upstream.manifest(&repository(), &Reference::Digest(digest), None).await.unwrap();
    assert_eq!((found.digest, &found.bytes[..]), (digest, MANIFEST.as_bytes()));
    assert_eq!(found.content_type.as_deref(), Some(media_type::OCI_INDEX));
    let asked = fake.asked();
    assert_eq!(asked[0].path, "/v2/team/app/manifests/v1");
    assert_eq!(asked[1].path, format!("/v2/team/app/manifests/{digest}"));
    assert!(asked.iter().all(|asked| asked.header("accept") == Some(media_type::MANIFEST_ACCEPT)));
}

#[tokio::test]
async fn wrong_bytes_and_endless_documents_are_not_taken() {
    let fake = Fake::start(|asked, _| match asked.path.rsplit('/').next() {
        Some("lied") => {
            answer(200, &[("docker-content-digest", &Digest::sha256(b"x").to_string())], MANIFEST)
        }
        Some("huge") => answer(200, &[], vec![b' '; MANIFEST_SIZE_MAX as usize + 1]),
        _ => answer(200, &[], MANIFEST),
    })
    .await;
    let upstream = fake.client();
    for reference in ["lied", "huge", &Digest::sha256(b"other").to_string()] {
        let error = upstream.manifest(&repository(), &reference.parse().unwrap(), None).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Invalid { .. }), "{reference}: {error}");
    }
    let untold = upstream.manifest(&repository(), &tag(), None).await.unwrap();
    assert_eq!(untold.digest, Digest::sha256(MANIFEST.as_bytes()));
}

#[tokio::test]
async fn every_failure_has_its_kind() {
    let fake = Fake::start(|asked, _| match asked.path.rsplit('/').next().unwrap_or_default() {
        "slow" => never(),
        "reset" => broken(200, &[("content-length", "100")], b"{"),
        status => answer(status.trim_start_matches('s').parse().unwrap(), &[], "secret words"),
    })
    .await;
    let upstream = fake.client();
    let begun = Instant::now();
    for (reference, kind) in [
        ("s404", UpstreamErrorKind::NotFound),
        ("s401", UpstreamErrorKind::Denied),
        ("s403", UpstreamErrorKind::Denied),
        ("s500", UpstreamErrorKind::Unavailable),
        ("s503", UpstreamErrorKind::Unavailable),
        ("s416", UpstreamErrorKind::Refused),
        ("reset", UpstreamErrorKind::Unavailable),
        ("slow", UpstreamErrorKind::Unavailable),
    ] {
        let error = upstream.manifest(&repository(), &reference.parse().unwrap(), None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reference}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn who_asks_for_a_pause_gets_one_and_blobs_go_on() {
    let metrics = Metrics::new("test", "0");
    let fake = Fake::start(|asked, _| {
        if asked.path.contains("/blobs/") {
            return answer(200, &[], "blob");
        }
        answer(429, &[("retry-after", "100"), ("ratelimit-remaining", "0;w=21600")], "")
    })
    .await;
    let upstream = client_with(fake.options(), UpstreamMetrics::register(&metrics));
    for _ in 0..5 {
        let error = upstream.head_manifest(&repository(), &tag(), None).await.unwrap_err();
        assert!(matches!(&error, UpstreamError::Paused { left, .. } if left.as_secs() > 90), "{error}");
    }
    assert_eq!(fake.asked().len(), 1, "it was asked once");
    assert!(upstream.blob(&repository(), &Digest::sha256(b"blob"), None).await.is_ok());
    let page = metrics.encode();
    assert!(page.contains(r#"shoal_upstream_quota_remaining{upstream="r.example"} 0"#), "{page}");
    assert!(page.contains(r#"kind="manifest",result="paused"} 5"#), "{page}");
}

#[tokio::test]
async fn who_is_away_is_not_waited_for_each_time() {
    let fake = Fake::start(|_, _| never()).await;
    let mut options = fake.options();
    options.timeouts.head = Duration::from_millis(100);
    let upstream = client(options);
    for _ in 0..10 {
        let error = upstream.head_manifest(&repository(), &tag(), None).await.unwrap_err();
        assert_eq!(error.kind(), UpstreamErrorKind::Unavailable, "{error}");
    }
    assert_eq!(fake.asked().len(), 3);
}
