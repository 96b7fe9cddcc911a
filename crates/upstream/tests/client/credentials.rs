//! Tokens and passwords: who is shown what.

use std::sync::{Arc, Mutex};

use shoal_config::Secret;
use shoal_oci::{Digest, Reference};
use shoal_upstream::{Credential, CredentialSource, UpstreamError, UpstreamErrorKind};

use crate::fake::{Asked, Fake, answer, client, repository};

const TOKEN: &str = r#"{"token":"t0ken","expires_in":300}"#;

fn tag() -> Reference {
    "v1".parse().unwrap()
}

/// A registry whose token service is at `/token` of the same port.
async fn with_tokens(tokens: impl Fn(&Asked) -> (u16, &'static str) + Send + Sync + 'static) -> Fake {
    let own = Arc::new(Mutex::new(String::new()));
    let realm = Arc::clone(&own);
    let fake = Fake::start(move |asked, _| {
        if asked.path == "/token" {
            let (status, body) = tokens(asked);
            return answer(status, &[], body);
        }
        if asked.header("authorization") == Some("Bearer t0ken") {
            return answer(200, &[("docker-content-digest", &Digest::sha256(b"{}").to_string())], "");
        }
        let realm = realm.lock().unwrap();
        let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="repository:team/app:pull""#);
        answer(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    *own.lock().unwrap() = format!("http://{}/token", fake.addr);
    fake
}

fn with(fake: &Fake, source: CredentialSource) -> shoal_upstream::Upstream {
    let mut options = fake.options();
    options.credentials = source;
    client(options)
}

fn password() -> CredentialSource {
    CredentialSource::Fixed(Credential::Basic {
        username: "bot".to_owned(),
        password: Secret::new("hunter2"),
    })
}

#[tokio::test]
async fn nobody_gets_a_token_by_get_and_it_is_used_until_it_expires() {
    let fake = with_tokens(|_| (200, TOKEN)).await;
    let upstream = fake.client();
    for _ in 0..3 {
        upstream.head_manifest(&repository(), &tag(), None).await.unwrap();
    }
    let paths: Vec<_> = fake.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect();
    let head = "HEAD /v2/team/app/manifests/v1";
    assert_eq!(paths, [head, "GET /token", head, head, head]);
    // For another repository the service is known already.
    upstream.head_manifest(&"other/app".parse().unwrap(), &tag(), None).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].query, "service=s&scope=repository%3Aother%2Fapp%3Apull");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn a_password_goes_by_post_and_by_get_where_that_is_not_known() {
    let fake = with_tokens(|_| (200, TOKEN)).await;
    with(&fake, password()).head_manifest(&repository(), &tag(), None).await.unwrap();
    let asked = fake.asked();
    assert_eq!(
        asked[1].body,
        "grant_type=password&username=bot&password=hunter2&service=s&client_id=shoal&scope=repository%3Ateam%2Fapp%3Apull"
    );
    let fake = with_tokens(|asked| if asked.method == "POST" { (405, "") } else { (200, TOKEN) }).await;
    with(&fake, password()).head_manifest(&repository(), &tag(), None).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked[2].header("authorization"), Some("Basic Ym90Omh1bnRlcjI="));
    assert!(!asked[2].query.contains("hunter2"));
    let fake = with_tokens(|_| (200, r#"{"access_token":"t0ken"}"#)).await;
    let refresh = CredentialSource::Fixed(Credential::Identity(Secret::new("r3fresh")));
    with(&fake, refresh).head_manifest(&repository(), &tag(), None).await.unwrap();
    assert!(fake.asked()[1].body.starts_with("grant_type=refresh_token&refresh_token=r3fresh&"));
}

#[tokio::test]
async fn a_registry_that_wants_the_password_itself_gets_it_after_it_asked() {
    let fake = Fake::start(|asked, _| match asked.header("authorization") {
        Some("Basic Ym90Omh1bnRlcjI=") => answer(200, &[], ""),
        _ => answer(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    })
    .await;
    let upstream = with(&fake, password());
    upstream.head_manifest(&repository(), &tag(), None).await.unwrap();
    upstream.head_manifest(&repository(), &tag(), None).await.unwrap();
    assert_eq!(fake.asked().len(), 3, "the second time without being asked");
    let error = fake.client().head_manifest(&repository(), &tag(), None).await.unwrap_err();
    assert_eq!(error.kind(), UpstreamErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_token_service_that_fails_has_the_kind_of_its_failure() {
    for (status, body, kind) in [
        (401, "", UpstreamErrorKind::Denied),
        (503, "", UpstreamErrorKind::Unavailable),
        (429, "", UpstreamErrorKind::Unavailable),
        (307, "", UpstreamErrorKind::Denied),
        (200, "no token", UpstreamErrorKind::Refused),
        (200, "{}", UpstreamErrorKind::Refused),
        (200, r#"{"token":"a\nb"}"#, UpstreamErrorKind::Refused),
    ] {
        let fake = with_tokens(move |_| (status, body)).await;
        let error = fake.client().head_manifest(&repository(), &tag(), None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
    }
}

/// A registry that names `realm`.
async fn naming(realm: String) -> Fake {
    let challenge = format!(r#"Bearer realm="{realm}",service="s""#);
    Fake::start(move |_, _| answer(401, &[("www-authenticate", &challenge)], "")).await
}

#[tokio::test]
async fn a_token_service_is_never_inside_and_gets_no_password_of_another_house() {
    let neighbour = Fake::start(|_, _| answer(200, &[], TOKEN)).await;
    for realm in [
        "http://169.254.169.254/token".to_owned(),
        "https://127.0.0.1/token".to_owned(),
        "ftp://x/".to_owned(),
        "/token".to_owned(),
        format!("http://{}/token", neighbour.addr),
    ] {
        let fake = naming(realm.clone()).await;
        for upstream in [fake.client(), with(&fake, password())] {
            let error = upstream.head_manifest(&repository(), &tag(), None).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Refused { .. }), "{realm}: {error}");
        }
    }
    assert!(neighbour.asked().is_empty());
    let fake = naming("https://tokens.attacker.example/".to_owned()).await;
    let error = with(&fake, password()).head_manifest(&repository(), &tag(), None).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Refused { why, .. } if why.contains("`hosts`")), "{error}");
}

#[tokio::test]
async fn a_credential_of_somebody_else_is_passed_as_it_is_and_ours_stays_home() {
    let fake = with_tokens(|_| (200, TOKEN)).await;
    let upstream = with(&fake, password());
    let theirs = Credential::Bearer(Secret::new("theirs"));
    let error = upstream.head_manifest(&repository(), &tag(), Some(&theirs)).await.unwrap_err();
    assert_eq!(error.kind(), UpstreamErrorKind::Denied);
    let right = Credential::Bearer(Secret::new("t0ken"));
    upstream.head_manifest(&repository(), &tag(), Some(&right)).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked.len(), 2, "no token service was asked");
    assert_eq!(asked[0].header("authorization"), Some("Bearer theirs"));
    let challenged = upstream.challenge(&repository()).await.unwrap().unwrap();
    assert!(challenged.header.starts_with("Bearer realm="), "{challenged:?}");
}

#[tokio::test]
async fn nothing_printed_holds_a_secret() {
    let fake = with_tokens(|_| (200, TOKEN)).await;
    let upstream = with(&fake, password());
    upstream.head_manifest(&repository(), &tag(), None).await.unwrap();
    let printed = format!("{upstream:?}");
    assert!(!printed.contains("hunter2") && !printed.contains("t0ken"), "{printed}");
}
