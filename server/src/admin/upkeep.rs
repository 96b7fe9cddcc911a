//! Collect, scrub and quarantine by an operator's hand: `/collect`, `/scrub` and `/quarantine` on the admin port.

use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use shoal_collect::{Collector, Scrubber};
use shoal_http::{Request, Response, json, query};
use shoal_oci::Digest;
use shoal_store::{ErrorKind, Scrubbed, Store};

/// Answers what concerns upkeep.
pub(crate) struct UpkeepAdmin {
    pub(crate) collector: Collector,
    pub(crate) scrubber: Scrubber,
    pub(crate) store: Store,
}

#[derive(Debug, Serialize)]
struct Quarantined {
    blobs: Vec<QuarantinedBlob>,
}

/// A wish came true.
#[derive(Debug, Serialize)]
struct Done {
    digest: Digest,
}

#[derive(Debug, Serialize)]
struct QuarantinedBlob {
    digest: Digest,
    size: u64,
}

impl UpkeepAdmin {
    /// The answer, when the path is one of upkeep.
    pub(crate) async fn answer(&self, request: &Request) -> Option<Response> {
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let posting = *request.method() == Method::POST;
        let answer = match request.uri().path() {
            "/collect" if posting => self.collect(request).await,
            "/collect" if reading => json::response(StatusCode::OK, &self.collector.last()),
            "/scrub" if posting => self.scrub(request).await,
            "/scrub" if reading => json::response(StatusCode::OK, &self.scrubber.report()),
            "/quarantine" if posting => self.quarantine(request).await,
            "/quarantine" if reading => self.quarantined(),
            "/collect" | "/scrub" | "/quarantine" => not_allowed("GET, HEAD, POST"),
            _ => return None,
        };
        Some(answer)
    }

    /// `POST /collect?dry_run=true`: collects, and answers with the report when it has ended.
    async fn collect(&self, request: &Request) -> Response {
        let dry_run = match query::value(request.uri().query(), "dry_run").as_deref() {
            None | Some("false") => false,
            Some("" | "true") => true,
            Some(_) => return json::error(StatusCode::BAD_REQUEST, "dry_run is true or false"),
        };
        match self.collector.collect(dry_run).await {
            Ok(report) => json::response(StatusCode::OK, &report),
            Err(busy) => json::error(StatusCode::CONFLICT, busy.to_string()),
        }
    }

    /// `POST /scrub` begins a pass; `POST /scrub?digest=…` verifies one blob now.
    async fn scrub(&self, request: &Request) -> Response {
        let Some(text) = query::value(request.uri().query(), "digest") else {
            return if self.scrubber.start() {
                json::response(StatusCode::ACCEPTED, &self.scrubber.report())
            } else {
                json::error(StatusCode::CONFLICT, "a scrub is under way; GET /scrub tells how far it is")
            };
        };
        let Ok(digest) = text.parse::<Digest>() else {
            return json::error(StatusCode::BAD_REQUEST, "digest is algorithm:hex, as in sha256:9f86d0…");
        };
        match self.scrubber.one(&digest).await {
            Ok(Some(report)) => json::response(StatusCode::OK, &report),
            Ok(None) => json::error(StatusCode::NOT_FOUND, format!("this server does not have {digest}")),
            Err(error) => {
                json::error(StatusCode::INTERNAL_SERVER_ERROR, format!("looking for {digest}: {error}"))
            }
        }
    }

    fn quarantined(&self) -> Response {
        let found = self.store.quarantined().into_iter();
        let blobs = found.map(|one| QuarantinedBlob { digest: one.digest, size: one.size }).collect();
        json::response(StatusCode::OK, &Quarantined { blobs })
    }

    /// `POST /quarantine?release=…` puts a blob back that reads right after all; `?forget=…` throws it away.
    async fn quarantine(&self, request: &Request) -> Response {
        let wish = |name| query::value(request.uri().query(), name).map(|text| text.parse::<Digest>());
        let store = self.store.clone();
        let work = match (wish("release"), wish("forget")) {
            (Some(Ok(digest)), None) => tokio::task::spawn_blocking(move || release(&store, &digest)).await,
            (None, Some(Ok(digest))) => tokio::task::spawn_blocking(move || forget(&store, &digest)).await,
            _ => {
                let form =
                    "say what to do with which blob: ?release=sha256:9f86d0… or ?forget=sha256:9f86d0…";
                return json::error(StatusCode::BAD_REQUEST, form);
            }
        };
        work.unwrap_or_else(|error| json::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }
}

fn release(store: &Store, digest: &Digest) -> Response {
    match store.release(digest) {
        Ok(Scrubbed::Damaged { pieces }) => {
            let message = format!("{digest} stays in quarantine: {} of its pieces are damaged", pieces.len());
            json::error(StatusCode::CONFLICT, message)
        }
        Ok(_) => json::response(StatusCode::OK, &Done { digest: *digest }),
        Err(error) => failed(&error),
    }
}

fn forget(store: &Store, digest: &Digest) -> Response {
    if store.forget_quarantined(digest) {
        json::response(StatusCode::OK, &Done { digest: *digest })
    } else {
        json::error(StatusCode::NOT_FOUND, format!("{digest} is not in quarantine"))
    }
}

fn failed(error: &shoal_store::Error) -> Response {
    let status = match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json::error(status, error.to_string())
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut answer = json::error(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} here"));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}
