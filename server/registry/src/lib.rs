//! Role registry: the OCI distribution API, push and pull (distribution-spec 1.1 and what its main branch added since).
//!
//! Goals: every answer is one that the specification allows, every 201 is durable, every upload needs a fixed amount of memory,
//! no request waits for ever, none passes without the right to. Non-goals: who owns a blob (ring, origin), how it spreads (swarm),
//! what a right is (`shoal_auth`). The role keeps no state of its own: bytes are in the store, everything else behind
//! [`shoal_api::tags::Tags`].
//!
//! This file is the table from route and method to handler, and nothing else.

mod admit;
mod answer;
mod audit;
mod blobs;
mod call;
mod caller;
mod condition;
mod context;
mod copies;
mod error;
mod events;
mod gate;
mod hot;
mod lanes;
mod manifests;
mod methods;
mod mount;
mod options;
mod pace;
mod paging;
mod push;
mod receive;
mod referrers;
mod room;
mod small;
mod tag_rights;
mod tags;
mod tally;
mod token;
mod uploads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};
use shoal_api::audit::Audit;
use shoal_api::events::Events;
use shoal_api::tags::Tags;
use shoal_api::{Copies, Leases};
use shoal_http::{Handler, Request, Response};
use shoal_oci::Route;
use shoal_store::Store;
use shoal_telemetry::RegistryMetrics;
use shoal_telemetry::rooms::registry::UploadResult;

pub use options::RegistryOptions;

use crate::call::Call;
use crate::context::Context;
use crate::error::{Answer, Refusal};
use crate::tally::RouteName;
use crate::uploads::Session;

/// Tells old Docker clients that they talk to a registry; on every answer.
const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// The registry role. Cheap to clone; clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Context>);

impl Registry {
    /// A registry over a store of blobs and a memory of everything else. Whoever removes content from the store shares `leases`.
    pub fn new(
        store: Store,
        tags: Arc<dyn Tags>,
        leases: Leases,
        metrics: RegistryMetrics,
        options: RegistryOptions,
    ) -> Self {
        Self(Arc::new(Context::new(store, tags, leases, metrics, options)))
    }

    /// The same registry, which tells `events` what happened and leaves a record of every change in `audit`. To be called before
    /// the registry is cloned.
    #[must_use]
    pub fn with_witnesses(mut self, events: Arc<dyn Events>, audit: Arc<dyn Audit>) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(cx) => (cx.events, cx.audit) = (events, audit),
            None => tracing::error!("the registry is in use already; it tells of nothing"),
        }
        self
    }

    /// The same registry, in which some repositories are filled by `copies`, if there are any. To be called before the registry is cloned.
    #[must_use]
    pub fn with_copies(mut self, copies: Option<Arc<dyn Copies>>) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(cx) => cx.copies = copies,
            None => tracing::error!("the registry is in use already; it has no copies of upstreams"),
        }
        self
    }

    /// Removes the upload sessions that nobody has touched for [`RegistryOptions::upload_idle_max`], and returns how many.
    /// The server calls it from time to time.
    pub async fn sweep(&self) -> usize {
        let idle_max = self.0.options.upload_idle_max;
        let expired = self
            .0
            .blocking(move |store| store.expire_uploads(idle_max, SystemTime::now()))
            .await
            .unwrap_or(0);
        if expired > 0 {
            tracing::info!(expired, "abandoned uploads removed");
            self.0.metrics.uploads.of(UploadResult::Expired).inc_by(expired as u64);
        }
        expired
    }

    /// Answers a request whose route is known.
    async fn answer(&self, route: Route, request: Request, peer: SocketAddr) -> Response {
        let cx = &*self.0;
        let method = request.method().clone();
        let mut call = match Call::new(cx, request, peer) {
            Ok(call) => call,
            Err(error) => return Refusal::from(error).into_response(),
        };
        let entry = audit::Entry::of(cx, &route, &call);
        let admitted = entry.as_ref().map_or(Ok(()), |entry| entry.admit(cx));
        let answer = match (admitted, cx.lanes.of(&method).enter().await) {
            (Ok(()), Ok(_place)) => self.dispatch(route, &mut call).await,
            (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
        };
        call.discard_rest().await;
        let mut response = answer.unwrap_or_else(Refusal::into_response);
        if let Some(entry) = entry {
            response = entry.write(cx, &call, response).await;
        }
        if !matches!(method, Method::GET | Method::HEAD) {
            response.headers_mut().insert(caller::REQUEST_ID, call.sender.request_id());
        }
        if method == Method::HEAD { answer::without_body(response) } else { response }
    }

    async fn dispatch(&self, route: Route, call: &mut Call) -> Answer {
        let cx = &*self.0;
        let allowed = methods::allowed(&route, cx.options.delete_enabled);
        if !allowed.contains(&call.method) {
            return Err(methods::not_allowed(allowed));
        }
        copies::check_change(cx, &route, &call.method)?;
        // HEAD is GET without a body; the few handlers that can save work look at the method.
        let method = if call.method == Method::HEAD { Method::GET } else { call.method.clone() };
        match (route, method.as_str()) {
            (Route::Base, _) => Ok(answer::base()),
            (Route::Extensions { .. }, _) => {
                Ok(answer::json(shoal_oci::media_type::JSON, shoal_oci::reply::extensions(), Vec::new()))
            }
            (Route::Catalog, _) => tags::catalog(cx, call).await,
            (Route::Tags { repository }, _) => tags::list(cx, call, repository).await,
            (Route::Referrers { repository, subject }, _) => {
                referrers::list(cx, call, repository, subject).await
            }
            (Route::Blob { repository, digest }, "DELETE") => {
                blobs::delete(cx, call, &repository, digest).await
            }
            (Route::Blob { repository, digest }, _) => match hot::blob(cx, call, &repository, &digest)? {
                Some(answer) => Ok(answer),
                None => blobs::get(cx, call, &repository, digest).await,
            },
            (Route::Manifest { repository, reference }, "PUT") => {
                manifests::put(cx, call, repository, reference).await
            }
            (Route::Manifest { repository, reference }, "DELETE") => {
                manifests::delete(cx, call, &repository, &reference).await
            }
            (Route::Manifest { repository, reference }, _) => {
                manifests::get(cx, call, &repository, &reference).await
            }
            (Route::Uploads { repository }, _) => uploads::post(cx, call, repository).await,
            (Route::Upload { repository, id }, method) => {
                let session = Session::new(repository, &id)?;
                match method {
                    "PATCH" => uploads::patch(cx, call, session).await,
                    "PUT" => uploads::put(cx, call, session).await,
                    "DELETE" => uploads::delete(cx, session).await,
                    _ => uploads::get(cx, session).await,
                }
            }
        }
    }
}

#[async_trait]
impl Handler for Registry {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        let (name, mut response) = match copies::route(&self.0, request.uri()) {
            Ok(route) => (RouteName::of(&route), self.begin(route, request, peer).await),
            Err(_) if self.0.options.guard.has_tokens() && request.uri().path() == token::PATH => {
                (RouteName::TOKEN, token::answer(&self.0, request, peer).await)
            }
            Err(error) => (RouteName::NONE, self.refuse(error.into(), request, peer).await),
        };
        let status = response.status().as_u16();
        self.0.tally.count(name, status);
        tracing::debug!(%peer, route = name.as_str(), status, "answered");
        let (header, value) = API_VERSION;
        response.headers_mut().insert(header, value);
        response
    }
}

impl Registry {
    /// Answers a request. One that changes something goes on when the client leaves, so that what arrived of an upload is kept
    /// and no commit stops half-way; it still ends soon, since its body has ended.
    async fn begin(&self, route: Route, mut request: Request, peer: SocketAddr) -> Response {
        match gate::enter(&self.0, &route, &request, peer).await {
            Ok(access) if access.is_open() => {}
            Ok(access) => _ = request.extensions_mut().insert(access),
            Err(refusal) => return self.refuse(refusal, request, peer).await,
        }
        let opens_session = matches!(route, Route::Uploads { .. }) && request.uri().query().is_none();
        if opens_session || matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.answer(route, request, peer).await;
        }
        let registry = self.clone();
        let task = tokio::spawn(async move { registry.answer(route, request, peer).await });
        task.await.unwrap_or_else(|error| error::internal("a request ended early", &error).into_response())
    }

    /// Answers a request to a path that names nothing, or that may not pass.
    async fn refuse(&self, refusal: Refusal, request: Request, peer: SocketAddr) -> Response {
        let method = request.method().clone();
        if let Ok(mut call) = Call::new(&self.0, request, peer) {
            call.discard_rest().await;
        }
        let response = refusal.into_response();
        if method == Method::HEAD { answer::without_body(response) } else { response }
    }
}
