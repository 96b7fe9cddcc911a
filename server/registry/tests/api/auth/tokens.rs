//! The token endpoint, and what its tokens open.

use shoal_http::Body;
use shoal_oci::query::percent_encode;

use super::{Secured, basic};
use crate::world::Reply;

impl Secured {
    /// A token for `name` with these scopes.
    pub(crate) async fn token(&self, name: &str, scope: &str) -> String {
        let path = format!("/token?service=shoal&scope={}", percent_encode(scope));
        let reply = self.get(name, &path).await;
        reply.expect(200).json()["token"].as_str().unwrap().to_owned()
    }

    async fn with_token(&self, token: &str, method: &str, path: &str) -> Reply {
        let call = self.world.call(method, path).header("host", "r.example");
        call.header("authorization", format!("Bearer {token}")).send(Body::empty()).await
    }

    async fn form(&self, form: &str) -> Reply {
        let call = self.world.call("POST", "/token");
        call.header("content-type", "application/x-www-form-urlencoded").send(form.to_owned()).await
    }
}

#[tokio::test]
async fn a_token_opens_what_it_names_and_asks_for_another_one_elsewhere() {
    let secured = Secured::new();
    secured.push_blob("boss", "team/a", "content").await;
    let token = secured.token("reader", "repository:team/a:pull,push").await;
    secured.with_token(&token, "GET", "/v2/").await.expect(200);
    secured.with_token(&token, "GET", "/v2/team/a/tags/list").await.expect(200);
    // Allowed, but not with this token.
    let reply = secured.with_token(&token, "GET", "/v2/team/b/tags/list").await;
    reply.expect_error(401, "UNAUTHORIZED");
    let challenge = reply.header("www-authenticate");
    assert!(
        challenge.contains(r#"scope="repository:team/b:pull",error="insufficient_scope""#),
        "{challenge}"
    );
    let reply = secured.with_token(&token, "GET", "/v2/_catalog").await;
    assert!(reply.expect(401).header("www-authenticate").contains("registry:catalog:*"));
    let token = secured.token("reader", "registry:catalog:*").await;
    let listed = secured.with_token(&token, "GET", "/v2/_catalog").await;
    assert_eq!(listed.expect(200).json()["repositories"], serde_json::json!(["team/a"]));
    // Not allowed at all: another token would not help.
    let reply = secured.with_token(&token, "POST", "/v2/team/a/blobs/uploads/").await;
    reply.expect_error(403, "DENIED");
}

#[tokio::test]
async fn nobody_gets_a_token_for_what_is_public() {
    let secured = Secured::new();
    let digest = secured.push_blob("boss", "public/a", "content").await;
    let token = secured.token("", "repository:public/a:pull,push").await;
    secured.with_token(&token, "GET", "/v2/").await.expect(200);
    secured.with_token(&token, "GET", &format!("/v2/public/a/blobs/{digest}")).await.expect(200);
    for (method, path) in [("POST", "/v2/public/a/blobs/uploads/"), ("GET", "/v2/team/a/tags/list")] {
        let reply = secured.with_token(&token, method, path).await;
        reply.expect_error(401, "UNAUTHORIZED");
        assert!(reply.header("www-authenticate").contains("insufficient_scope"));
    }
}

#[tokio::test]
async fn both_forms_of_the_endpoint_answer_alike() {
    let secured = Secured::new();
    let get = secured
        .get("reader", "/token?service=shoal&scope=repository:team/a:pull&offline_token=true&account=reader")
        .await;
    let post = secured
        .form("grant_type=password&client_id=containerd-client&service=shoal&scope=repository%3Ateam%2Fa%3Apull&username=reader&password=reader&access_type=offline")
        .await;
    for reply in [&get, &post] {
        let json = reply.expect(200).json();
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!((&json["expires_in"], &json["token"]), (&300.into(), &json["access_token"]));
        assert!(json["issued_at"].as_str().unwrap().ends_with('Z') && json["refresh_token"].is_string());
        let refresh = json["refresh_token"].as_str().unwrap();
        let renewed = secured
            .form(&format!(
                "grant_type=refresh_token&service=shoal&scope=repository:team/a:pull&refresh_token={refresh}"
            ))
            .await;
        let token = renewed.expect(200).json()["access_token"].as_str().unwrap().to_owned();
        secured.with_token(&token, "GET", "/v2/team/a/tags/list").await.expect_error(404, "NAME_UNKNOWN");
        // A refresh token opens nothing by itself.
        secured.with_token(refresh, "GET", "/v2/").await.expect(401);
    }
}

#[tokio::test]
async fn bad_requests_for_tokens_are_told_apart() {
    let secured = Secured::new();
    for (form, status) in [
        ("", 400),
        ("grant_type=implicit", 400),
        ("grant_type=password&username=reader", 400),
        ("grant_type=password&username=reader&password=reader&service=other", 400),
        ("grant_type=password&username=reader&password=reader&scope=nonsense", 400),
        ("grant_type=password&username=reader&password=wrong", 401),
        ("grant_type=refresh_token&refresh_token=x.y.z", 401),
        ("grant_type=%FF", 400),
    ] {
        assert_eq!(secured.form(form).await.status, status, "{form}");
    }
    let wrong = secured.form("grant_type=password&username=reader&password=wrong").await;
    wrong.expect_error(401, "UNAUTHORIZED");
    assert!(wrong.header("www-authenticate").starts_with("Basic"));
    assert_eq!(secured.refused.last(), "? login - wrong_password");
    secured.form(&"x".repeat(100_000)).await.expect(413);
    secured.send("reader", "DELETE", "/token", Body::empty()).await.expect_error(405, "UNSUPPORTED");
    let token = secured.token("reader", "repository:team/a:pull").await;
    secured.with_token(&token, "GET", "/token?scope=repository:team/b:pull").await.expect(401);
    let twice = secured.world.call("GET", "/token").header("authorization", basic("reader"));
    twice.header("authorization", basic("boss")).send(Body::empty()).await.expect(400);
}

#[tokio::test]
async fn scopes_that_are_not_given_are_left_out_silently() {
    let secured = Secured::new();
    let path = "/token?service=shoal&scope=repository:team/a:pull,push,delete,*&scope=repository:secret/a:pull&scope=repository(plugin):team/b:pull&scope=weather:today:read";
    let reply = secured.get("reader", path).await;
    assert_eq!(reply.expect(200).json()["scope"], "repository:team/a:pull repository(plugin):team/b:pull");
}
