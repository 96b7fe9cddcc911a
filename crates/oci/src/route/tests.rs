//! Paths that are read back as they were written, paths that are refused, and with which words.

use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn empty() -> Digest {
    Digest::sha256(b"")
}

fn error(path: &str) -> (ErrorCode, u16) {
    let error = Route::parse(path).unwrap_err();
    (error.code, error.status)
}

#[test]
fn every_route_reads_back_what_it_writes() {
    for text in [
        "a",
        "team/app",
        "blobs",
        "a/manifests",
        "a/blobs/uploads",
        "x/tags/list",
        "manifests/referrers/blobs",
    ] {
        let repository = name(text);
        for route in [
            Route::Blob { repository: repository.clone(), digest: empty() },
            Route::Uploads { repository: repository.clone() },
            Route::Upload { repository: repository.clone(), id: "0-a_B.=".to_owned() },
            Route::Upload { repository: repository.clone(), id: "uploads".to_owned() },
            Route::Manifest { repository: repository.clone(), reference: "v1".parse().unwrap() },
            Route::Manifest { repository: repository.clone(), reference: "list".parse().unwrap() },
            Route::Manifest { repository: repository.clone(), reference: Reference::Digest(empty()) },
            Route::Tags { repository: repository.clone() },
            Route::Extensions { repository: Some(repository.clone()) },
            Route::Referrers { repository, subject: empty() },
        ] {
            assert_eq!(Route::parse(&route.to_path()), Ok(route.clone()));
            assert_eq!(Route::parse_mirror(&route.to_path()), Ok((None, route)));
        }
    }
    for route in [Route::Base, Route::Catalog, Route::Extensions { repository: None }] {
        assert_eq!(Route::parse(&route.to_path()), Ok(route));
    }
    assert_eq!(Route::parse("/v2"), Ok(Route::Base));
    assert_eq!(Route::parse("/v2/a/blobs/uploads"), Ok(Route::Uploads { repository: name("a") }));
}

#[test]
fn paths_that_name_nothing_are_404() {
    for path in [
        "",
        "/",
        "v2/",
        "/v1/",
        "/v2x",
        "/v2x/",
        "/V2/",
        "/v2//",
        "/v2/a",
        "/v2/a/b",
        "/v2/a/tags",
        "/v2/a/tags/",
        "/v2/a/tags/all",
        "/v2/_catalog/",
        "/v2/a/blobs/uploads/x/y",
        "/v2/_oci/ext/discover/",
        "/v2/_oci/ext/other",
        "/v2/a/tags/list/",
    ] {
        assert_eq!(error(path), (ErrorCode::Unsupported, 404), "{path}");
    }
}

#[test]
fn bad_names_are_named_as_such() {
    let long = "a".repeat(3000);
    let deep = "a/".repeat(500) + "a";
    for bad in
        ["", "A", "a//b", "..", "a/..", "a%2fb", "a%2Fb", "%61", "a b", "a/", "/a", "a\0", "ü", &long, &deep]
    {
        for path in [
            format!("/v2/{bad}/tags/list"),
            format!("/v2/{bad}/manifests/v1"),
            format!("/v2/{bad}/blobs/sha256:{HEX}"),
            format!("/v2/{bad}/blobs/uploads/"),
        ] {
            assert_eq!(error(&path), (ErrorCode::NameInvalid, 400), "{path}");
        }
    }
    assert_eq!(error("/v2/tags/list"), (ErrorCode::NameInvalid, 400));
    assert_eq!(error("/v2/manifests/v1"), (ErrorCode::NameInvalid, 400));
}

#[test]
fn bad_digests_tags_and_uploads_are_named_as_such() {
    for (path, code, status) in [
        ("/v2/a/blobs/sha256:baddigeststring".to_owned(), ErrorCode::DigestInvalid, 400),
        (format!("/v2/a/blobs/sha256%3A{HEX}"), ErrorCode::DigestInvalid, 400),
        (format!("/v2/a/blobs/{HEX}"), ErrorCode::DigestInvalid, 400),
        ("/v2/a/blobs/".to_owned(), ErrorCode::DigestInvalid, 400),
        ("/v2/a/referrers/md5:00".to_owned(), ErrorCode::DigestInvalid, 400),
        ("/v2/a/manifests/sha256:baddigeststring".to_owned(), ErrorCode::DigestInvalid, 400),
        ("/v2/a/manifests/".to_owned(), ErrorCode::TagInvalid, 400),
        ("/v2/a/manifests/.x".to_owned(), ErrorCode::TagInvalid, 400),
        ("/v2/a/manifests/v%31".to_owned(), ErrorCode::TagInvalid, 400),
        (format!("/v2/a/manifests/{}", "a".repeat(129)), ErrorCode::TagInvalid, 400),
        ("/v2/a/blobs/uploads/..%2f".to_owned(), ErrorCode::BlobUploadUnknown, 404),
        (format!("/v2/a/blobs/uploads/{}", "a".repeat(129)), ErrorCode::BlobUploadUnknown, 404),
    ] {
        assert_eq!(error(&path), (code, status), "{path}");
    }
}

#[test]
fn a_mirror_reads_the_host_from_the_first_segment() {
    for (path, host, repository) in [
        (
            "/v2/registry.example.com:5000/team/app/manifests/v1",
            Some("registry.example.com:5000"),
            "team/app",
        ),
        ("/v2/docker.io/library/nginx/manifests/v1", Some("docker.io"), "library/nginx"),
        ("/v2/LOCALHOST:80/a/manifests/v1", Some("localhost:80"), "a"),
        ("/v2/localhost/a/manifests/v1", Some("localhost"), "a"),
        ("/v2/[::1]:5000/a/manifests/v1", Some("[::1]:5000"), "a"),
        ("/v2/10.0.0.1/a/manifests/v1", Some("10.0.0.1"), "a"),
        ("/v2/team/app.x/manifests/v1", None, "team/app.x"),
        ("/v2/a.b/manifests/v1", None, "a.b"),
        ("/v2/localhost/manifests/v1", None, "localhost"),
    ] {
        let (got, route) = Route::parse_mirror(path).unwrap();
        assert_eq!(got.as_ref().map(Host::as_str), host, "{path}");
        assert_eq!(route.repository(), Some(&name(repository)), "{path}");
    }
    assert_eq!(Route::parse_mirror("/v2/").unwrap(), (None, Route::Base));
    for bad in
        ["a..b/c", "a:x/c", "user@h.io/c", "h.io%3A80/c", "h.io/../c", "h.io//c", "h.io/h.io:80/c", ":80/a"]
    {
        let error = Route::parse_mirror(&format!("/v2/{bad}/manifests/v1")).unwrap_err();
        assert_eq!((error.code, error.status), (ErrorCode::NameInvalid, 400), "{bad}");
    }
    assert_eq!(error("/v2/registry.example.com:5000/team/app/manifests/v1"), (ErrorCode::NameInvalid, 400));
}

proptest! {
    #[test]
    fn any_path_is_read_or_refused(path in "(/v2/)?([a-zA-Z0-9:.%_-]{0,4}/|blobs/|uploads/|manifests/|tags/|list|referrers/|_catalog|\\PC){0,8}") {
        for route in [Route::parse(&path).ok(), Route::parse_mirror(&path).ok().map(|(_, route)| route)].into_iter().flatten() {
            prop_assert_eq!(Route::parse(&route.to_path()), Ok(route));
        }
    }
}
