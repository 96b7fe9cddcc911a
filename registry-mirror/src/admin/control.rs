//! What an operator has the agent do: keep, let go, fetch beforehand, give nothing to others.

use http::{Method, StatusCode};
use serde_json::json;
use shoal_http::query::value;
use shoal_http::{Response, json as answer};
use shoal_oci::{Digest, ParseDigestError};

use super::{AdminHandler, not_so};
use crate::contents::{Contents, Platforms};
use crate::image::{ImageName, ImageNameError};

/// Why something is not done.
struct Refusal(StatusCode, String);

impl Refusal {
    fn answer(&self) -> Response {
        answer::error(self.0, self.1.clone())
    }
}

/// What is meant by `image=` or `digest=`.
enum Meant {
    Image(ImageName),
    Blob(Digest),
}

impl Meant {
    fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let refusal = |why: &dyn std::fmt::Display| Refusal(StatusCode::BAD_REQUEST, why.to_string());
        match (value(query, "image"), value(query, "digest")) {
            (Some(image), None) => {
                image.parse().map(Self::Image).map_err(|error: ImageNameError| refusal(&error))
            }
            (None, Some(digest)) => {
                digest.parse().map(Self::Blob).map_err(|error: ParseDigestError| refusal(&error))
            }
            _ => Err(refusal(&"say what is meant: image=NAME or digest=DIGEST")),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Image(image) => image.to_string(),
            Self::Blob(digest) => digest.to_string(),
        }
    }
}

impl AdminHandler {
    /// The blobs that are meant.
    async fn blobs(&self, meant: &Meant, query: Option<&str>) -> Result<Vec<Digest>, Refusal> {
        match meant {
            Meant::Blob(digest) => Ok(vec![*digest]),
            Meant::Image(image) => {
                let platforms = Platforms::of(value(query, "platform").as_deref());
                let contents = Contents::of(&self.resolver, image, &platforms).await;
                let contents = contents.map_err(|why| Refusal(StatusCode::NOT_FOUND, why))?;
                Ok(contents.blobs.into_iter().map(|(digest, _)| digest).collect())
            }
        }
    }

    /// `GET /pins`, `POST /pins?image=…|digest=…`, `DELETE` of the same.
    pub(super) async fn pins(&self, method: &Method, query: Option<&str>) -> Response {
        match *method {
            Method::GET | Method::HEAD => answer::response(StatusCode::OK, &self.pins.list()),
            Method::POST => self.pin(query).await.unwrap_or_else(|refusal| refusal.answer()),
            Method::DELETE => self.unpin(query).await.unwrap_or_else(|refusal| refusal.answer()),
            _ => not_so("pins are read with GET, set with POST and taken away with DELETE"),
        }
    }

    async fn pin(&self, query: Option<&str>) -> Result<Response, Refusal> {
        let meant = Meant::of(query)?;
        let blobs = self.blobs(&meant, query).await?;
        let (pins, name, count) = (self.pins.clone(), meant.name(), blobs.len());
        let shown = json!({ "pinned": name, "blobs": count });
        blocking(move || pins.add(&name, blobs)).await?;
        Ok(answer::response(StatusCode::OK, &shown))
    }

    async fn unpin(&self, query: Option<&str>) -> Result<Response, Refusal> {
        let name = Meant::of(query)?.name();
        let (pins, removed) = (self.pins.clone(), name.clone());
        if blocking(move || pins.remove(&removed)).await? {
            Ok(answer::response(StatusCode::OK, &json!({ "unpinned": name })))
        } else {
            Err(Refusal(StatusCode::NOT_FOUND, format!("{name} is not pinned")))
        }
    }

    /// `POST /evict?image=…|digest=…|all=true`. What is pinned stays; those who read a blob can read it to its end.
    pub(super) async fn evict(&self, query: Option<&str>) -> Response {
        let chosen = if value(query, "all").as_deref() == Some("true") {
            Ok(self.store.digests())
        } else {
            match Meant::of(query) {
                Ok(meant) => self.blobs(&meant, query).await,
                Err(refusal) => Err(refusal),
            }
        };
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(refusal) => return refusal.answer(),
        };
        let store = self.store.clone();
        let evict = move || {
            let (mut evicted, mut bytes, mut pinned) = (0_u64, 0_u64, 0_u64);
            for digest in chosen {
                if store.is_kept(&digest) {
                    pinned += 1;
                    continue;
                }
                let size = store.stat(&digest).map_err(std::io::Error::other)?.unwrap_or(0);
                if store.remove(&digest).map_err(std::io::Error::other)? {
                    (evicted, bytes) = (evicted + 1, bytes + size);
                }
            }
            Ok(json!({ "evicted": evicted, "bytes": bytes, "pinned": pinned }))
        };
        match blocking(evict).await {
            Ok(done) => answer::response(StatusCode::OK, &done),
            Err(refusal) => refusal.answer(),
        }
    }

    /// `GET /drain`, `POST /drain`, `DELETE /drain`.
    pub(super) async fn drain(&self, method: &Method) -> Response {
        let on = match *method {
            Method::GET | Method::HEAD => self.drain.is_on(),
            Method::POST => true,
            Method::DELETE => false,
            _ => return not_so("begun with POST, ended with DELETE"),
        };
        if matches!(*method, Method::POST | Method::DELETE) && self.drain.set(on) {
            self.announcer.tell_of(self.store.digests(), !on).await;
        }
        answer::response(StatusCode::OK, &json!({ "drained": on }))
    }

    /// `GET /preheat`, `GET /preheat?id=…`, `POST /preheat?image=…`.
    pub(super) async fn preheat(&self, method: &Method, query: Option<&str>) -> Response {
        match *method {
            Method::GET | Method::HEAD => {
                let id = value(query, "id").and_then(|text| text.parse().ok());
                let jobs = self.preheats.status(id, &self.swarm.status().await);
                answer::response(StatusCode::OK, &jobs)
            }
            Method::POST => {
                let image = match Meant::of(query) {
                    Ok(Meant::Image(image)) => image,
                    Ok(Meant::Blob(_)) => {
                        return answer::error(StatusCode::BAD_REQUEST, "images are preheated: image=NAME");
                    }
                    Err(refusal) => return refusal.answer(),
                };
                let platforms = Platforms::of(value(query, "platform").as_deref());
                match self.preheats.begin(image, platforms) {
                    Some(id) => answer::response(StatusCode::ACCEPTED, &json!({ "id": id })),
                    None => answer::error(
                        StatusCode::TOO_MANY_REQUESTS,
                        "enough is being fetched; ask again later",
                    ),
                }
            }
            _ => not_so("begun with POST, looked at with GET"),
        }
    }
}

/// Does what blocks on the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other).flatten();
    done.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
