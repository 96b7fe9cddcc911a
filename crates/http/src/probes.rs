//! `/livez`, `/readyz`, `/health` and `/metrics`, put in front of any other handler.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use shoal_telemetry::{Health, Metrics};

use crate::{Handler, Request, Response, json, query};

/// Answers the probes itself and hands everything else to the handler behind it.
pub struct ProbeHandler {
    inner: Arc<dyn Handler>,
    health: Health,
    metrics: Metrics,
}

impl ProbeHandler {
    /// Probes over `health` and `metrics` in front of `inner`.
    pub fn new(inner: Arc<dyn Handler>, health: Health, metrics: Metrics) -> Self {
        Self { inner, health, metrics }
    }

    fn probe(&self, request: &Request) -> Option<Response> {
        let uri = request.uri();
        let answer = match uri.path() {
            // Whoever reads this is alive.
            "/livez" => json::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(),
            "/health" | "/healthz" if query::value(uri.query(), "verbose").is_some() => {
                json::response(self.ready_status(), &self.health.report())
            }
            "/health" | "/healthz" => self.readiness(),
            "/metrics" => json::with_type(StatusCode::OK, Metrics::CONTENT_TYPE, self.metrics.encode()),
            _ => return None,
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some(answer);
        }
        Some(json::text(StatusCode::METHOD_NOT_ALLOWED, "probes are read with GET\n"))
    }

    fn readiness(&self) -> Response {
        json::text(self.ready_status(), format!("{}\n", self.health.report().status))
    }

    fn ready_status(&self) -> StatusCode {
        if self.health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

#[async_trait]
impl Handler for ProbeHandler {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        match self.probe(&request) {
            Some(answer) => answer,
            None => self.inner.handle(request, peer).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    struct Teapot;

    #[async_trait]
    impl Handler for Teapot {
        async fn handle(&self, _: Request, _: SocketAddr) -> Response {
            json::text(StatusCode::IM_A_TEAPOT, "")
        }
    }

    async fn get(handler: &ProbeHandler, path: &str) -> (StatusCode, String, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let answer = handler.handle(request, ([127, 0, 0, 1], 1).into()).await;
        let content_type = answer.headers()[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = answer.status();
        let body = answer.into_body().collect(1 << 20).await.unwrap();
        (status, content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_follow_health_and_the_rest_goes_through() {
        let health = Health::new();
        health.expect("tracker");
        let handler = ProbeHandler::new(Arc::new(Teapot), health.clone(), Metrics::new("test", "1"));
        assert_eq!(get(&handler, "/livez").await.0, StatusCode::OK);
        assert_eq!(get(&handler, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        let verbose = get(&handler, "/health?verbose").await;
        assert_eq!(verbose.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(verbose.2, r#"{"status":"unready","checks":{"tracker":{"state":"pending"}}}"#);
        health.set("tracker", Ok(()));
        assert_eq!(get(&handler, "/readyz").await.0, StatusCode::OK);
        assert_eq!(get(&handler, "/health").await.2, "ok\n");
        let metrics = get(&handler, "/metrics").await;
        assert_eq!(metrics.1, Metrics::CONTENT_TYPE);
        assert!(metrics.2.contains("shoal_build_info"));
        assert_eq!(get(&handler, "/else").await.0, StatusCode::IM_A_TEAPOT);
    }
}
