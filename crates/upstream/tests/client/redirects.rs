//! Where an upstream may send us, and what goes along.

use std::sync::{Arc, Mutex};

use shoal_oci::Digest;
use shoal_upstream::{BlobStream, Credential, CredentialSource, UpstreamError};

use crate::fake::{Fake, answer, client, repository, tls};

async fn fetch(upstream: &shoal_upstream::Upstream) -> Result<BlobStream, UpstreamError> {
    upstream.blob(&repository(), &Digest::sha256(b"blob"), None).await
}

/// A registry that sends every blob to `location`.
async fn sending_to(location: String) -> Fake {
    Fake::start(move |_, _| answer(307, &[("location", &location)], "")).await
}

#[tokio::test]
async fn a_store_that_is_named_gets_the_question_and_no_credential() {
    let store = Fake::start(|_, _| answer(200, &[], "blob")).await;
    let fake = sending_to(format!("http://{}/bucket/x?sig=1", store.addr)).await;
    let mut options = fake.options();
    options.hosts = vec![store.addr.to_string()];
    options.credentials = CredentialSource::Fixed(Credential::Bearer(shoal_config::Secret::new("t0ken")));
    let mut stream = fetch(&client(options)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "blob");
    assert_eq!(fake.asked()[0].header("authorization"), Some("Bearer t0ken"));
    let asked = store.asked();
    assert_eq!((asked[0].path.as_str(), asked[0].query.as_str()), ("/bucket/x", "sig=1"));
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn a_redirect_never_leads_inside() {
    let neighbour = Fake::start(|_, _| answer(200, &[], "secret")).await;
    for location in [
        "http://169.254.169.254/latest/meta-data/iam".to_owned(),
        "https://169.254.169.254/".to_owned(),
        "https://[fd00:ec2::254]/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://localhost/".to_owned(),
        "https://metadata.google.internal/".to_owned(),
        format!("http://{}/", neighbour.addr),
        format!("https://{}/", neighbour.addr),
        format!("http://localhost:{}/", neighbour.addr.port()),
    ] {
        let fake = sending_to(location.clone()).await;
        let error = fetch(&fake.client()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Refused { .. }), "{location}: {error}");
    }
    assert!(neighbour.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let store = Fake::start(|_, _| answer(200, &[], "blob")).await;
    let location = format!("http://{}/x", store.addr);
    let directory = tempfile::tempdir().unwrap();
    let (tls, ca) = tls(directory.path());
    let fake =
        Fake::start_with(Some(tls), Box::new(move |_, _| answer(302, &[("location", &location)], ""))).await;
    let mut options = fake.options();
    options.endpoint = Some(format!("https://{}", fake.addr));
    options.hosts = vec![store.addr.to_string()];
    options.tls.ca = Some(ca);
    let error = fetch(&client(options.clone())).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Refused { why, .. } if why.contains("plain HTTP")), "{error}");
    assert!(store.asked().is_empty());
    // Whom nobody vouches for is not asked at all, unless a key says so.
    options.tls.ca = None;
    let error = fetch(&client(options.clone())).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Unavailable { .. }), "{error}");
    options.tls.insecure_skip_verify = true;
    let error = fetch(&client(options)).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let own = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&own);
    let fake = Fake::start(move |_, _| answer(302, &[("location", &to.lock().unwrap())], "")).await;
    for location in ["/round", "sideways"] {
        *own.lock().unwrap() = location.to_owned();
        let error = fetch(&fake.client()).await.unwrap_err();
        assert!(matches!(&error, UpstreamError::Refused { why, .. } if why.contains("redirects")), "{error}");
        assert_eq!(fake.asked().len(), 6);
    }
    for nowhere in ["", "file:///etc/passwd", "javascript:alert(1)"] {
        *own.lock().unwrap() = nowhere.to_owned();
        assert!(
            matches!(fetch(&fake.client()).await.unwrap_err(), UpstreamError::Invalid { .. }),
            "{nowhere}"
        );
    }
}
