//! What the members of one cluster show each other.
//!
//! A configured key keeps out who does not know it: in the swarm peers prove to each other that they know it, over HTTP it is a word in
//! `Authorization`. That word travels as it is. Who listens to the network learns it, so on a network with strangers members use TLS, where
//! certificates say who is a member; with it the key may be left out.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use shoal_http::{Handler, Request, Response, json};
use shoal_oci::Digest;

/// The 32 bytes by which peers of one cluster know each other, from the configured key (empty when there is none). A hash, so
/// that the key itself never travels; both programs must make it alike, so it is made here.
pub fn cluster_key(secret: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(hashed("shoal cluster key", secret).as_bytes());
    key
}

/// What a member says in `Authorization` to other members over HTTP; `None` without a key.
pub fn cluster_authorization(secret: Option<&str>) -> Option<HeaderValue> {
    let word = hashed("shoal cluster http", secret?).to_hex();
    let mut value = HeaderValue::try_from(format!("Bearer {word}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn hashed(purpose: &str, secret: &str) -> Digest {
    Digest::sha256(format!("{purpose}\n{secret}").as_bytes())
}

/// Answers members only, when there is a key to know them by.
pub struct MembersOnly {
    inner: Arc<dyn Handler>,
    /// Digest of the expected header: two digests may be compared in any time, because nobody chooses them byte by byte.
    expected: Option<Digest>,
}

impl MembersOnly {
    /// Lets those through to `inner` who know `secret`; everybody when there is none.
    pub fn new(inner: Arc<dyn Handler>, secret: Option<&str>) -> Self {
        let expected = cluster_authorization(secret).map(|value| Digest::sha256(value.as_bytes()));
        Self { inner, expected }
    }

    fn admits(&self, request: &Request) -> bool {
        let Some(expected) = &self.expected else { return true };
        let shown = request.headers().get(header::AUTHORIZATION);
        shown.is_some_and(|value| Digest::sha256(value.as_bytes()) == *expected)
    }
}

#[async_trait]
impl Handler for MembersOnly {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        if self.admits(&request) {
            return self.inner.handle(request, peer).await;
        }
        tracing::debug!(%peer, "turned away: no member of the cluster");
        json::error(
            StatusCode::UNAUTHORIZED,
            "this port is for members of the cluster; check cluster_key on both sides",
        )
    }
}

#[cfg(test)]
mod tests {
    use shoal_http::Body;

    use super::*;

    #[test]
    fn the_key_without_a_secret_is_fixed() {
        let hex: String = cluster_key("").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, Digest::sha256(b"shoal cluster key\n").to_hex());
        assert_ne!(cluster_key(""), cluster_key("x"));
    }

    #[test]
    fn the_word_over_http_is_not_the_one_of_the_swarm_and_is_not_printed() {
        let value = cluster_authorization(Some("secret")).unwrap();
        let swarm: String = cluster_key("secret").iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!value.to_str().unwrap().contains(&swarm));
        assert_eq!(format!("{value:?}"), "Sensitive");
        assert_eq!(cluster_authorization(None), None);
    }

    struct Yes;

    #[async_trait]
    impl Handler for Yes {
        async fn handle(&self, _: Request, _: SocketAddr) -> Response {
            Response::new(Body::empty())
        }
    }

    #[tokio::test]
    async fn only_who_knows_the_key_is_answered() {
        let ask = async |gate: &MembersOnly, shown: Option<HeaderValue>| {
            let mut request = Request::new(Body::empty());
            request.headers_mut().extend(shown.map(|value| (header::AUTHORIZATION, value)));
            gate.handle(request, SocketAddr::from(([127, 0, 0, 1], 1))).await.status()
        };
        let gate = MembersOnly::new(Arc::new(Yes), Some("secret"));
        assert_eq!(ask(&gate, cluster_authorization(Some("secret"))).await, StatusCode::OK);
        assert_eq!(ask(&gate, cluster_authorization(Some("other"))).await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&gate, None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&MembersOnly::new(Arc::new(Yes), None), None).await, StatusCode::OK);
    }
}
