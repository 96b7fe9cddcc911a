//! The copies of this server: which repositories they are, and the questions about them.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use shoal_api::tags::{PageAfter, Tags};
use shoal_api::{Arrival, Copies, CopyError, CopyErrorKind, Intake, ListedOf, Resolution};
use shoal_http::Body;
use shoal_oci::{Descriptor, Digest, Host, Reference, Repository, Tag};
use shoal_telemetry::UpstreamMetrics;
use shoal_upstream::{ListPage, RegistryName, Upstream, UpstreamError, Upstreams};

use crate::arrivals::Arrivals;
use crate::flights::Flights;
use crate::lists::{self, List, Lists};
use crate::memory::Memory;
use crate::policy::Policy;

/// What copies are made with.
pub struct CopiesOptions {
    /// The registries.
    pub upstreams: Upstreams,
    /// How old answers may be, one for each entry of `upstreams`, in its order.
    pub policies: Vec<Policy>,
    /// Counters.
    pub metrics: UpstreamMetrics,
}

/// The copies of this server. Clones share everything.
#[derive(Clone)]
pub struct LocalCopies(Arc<Inner>);

pub(crate) struct Inner {
    upstreams: Upstreams,
    pub(crate) policies: Vec<Policy>,
    /// The entries' names, for metrics.
    pub(crate) labels: Vec<String>,
    pub(crate) tags: Arc<dyn Tags>,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) metrics: UpstreamMetrics,
    pub(crate) memory: Memory,
    pub(crate) arrivals: Arrivals,
    flights: Flights<(Repository, Reference), Result<Resolution, CopyError>>,
    pub(crate) lists: Lists,
    pub(crate) list_flights: Flights<lists::Key, Result<Arc<List>, Arc<UpstreamError>>>,
}

/// A copy, and what it is a copy of.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) copy: Repository,
    pub(crate) upstream: Upstream,
    /// The number of the upstream's entry.
    pub(crate) entry: usize,
    /// The repository as the upstream names it.
    pub(crate) remote: Repository,
}

impl LocalCopies {
    /// Copies whose manifests and links are in `tags`, and whose blobs `intake` has.
    pub fn new(options: CopiesOptions, tags: Arc<dyn Tags>, intake: Arc<dyn Intake>) -> Self {
        let CopiesOptions { upstreams, mut policies, metrics } = options;
        let labels = upstreams.patterns();
        policies.resize(labels.len(), Policy::default());
        Self(Arc::new(Inner {
            upstreams,
            policies,
            labels,
            tags,
            intake,
            metrics,
            memory: Memory::default(),
            arrivals: Arrivals::default(),
            flights: Flights::default(),
            lists: Lists::default(),
            list_flights: Flights::default(),
        }))
    }

    fn place(&self, repository: &Repository) -> Result<Place, CopyError> {
        self.0.place(repository).ok_or_else(|| {
            CopyError::new(
                CopyErrorKind::NotFound,
                format!("{repository} is no copy of an upstream's repository"),
            )
        })
    }
}

impl Inner {
    fn place(&self, repository: &Repository) -> Option<Place> {
        let (name, remote) = split(repository)?;
        let (entry, upstream) = self.upstreams.get(&name)?;
        let copy = joined(&name, &remote)?;
        Some(Place { copy, upstream, entry, remote })
    }

    fn is_upstream(&self, name: &RegistryName) -> bool {
        self.upstreams.entry(name).is_some()
    }
}

/// The registry and its repository that a repository of ours would be a copy of.
fn split(repository: &Repository) -> Option<(RegistryName, Repository)> {
    let (segment, rest) = repository.as_str().split_once('/')?;
    let name = RegistryName::of_segment(segment)?;
    let remote = name.canonical(&rest.parse().ok()?);
    Some((name, remote))
}

fn joined(name: &RegistryName, remote: &Repository) -> Option<Repository> {
    format!("{}/{remote}", name.segment()?).parse().ok()
}

fn page_of(page: PageAfter) -> ListPage {
    ListPage { limit: Some(page.limit), after: page.last }
}

#[async_trait]
impl Copies for LocalCopies {
    fn of(&self, host: &Host, repository: &Repository) -> Option<Repository> {
        let name = RegistryName::of(host);
        if !self.0.is_upstream(&name) {
            return None;
        }
        joined(&name, &name.canonical(repository))
    }

    fn canonical(&self, repository: &Repository) -> Option<Repository> {
        let (name, remote) = split(repository)?;
        if self.0.is_upstream(&name) { joined(&name, &remote) } else { None }
    }

    async fn manifest(&self, copy: &Repository, reference: &Reference) -> Result<Resolution, CopyError> {
        let place = self.place(copy)?;
        let key = (place.copy.clone(), reference.clone());
        let work = || Arc::clone(&self.0).resolve(place, reference.clone());
        let ended = self.0.flights.join(&key, work).await;
        ended.unwrap_or_else(|| Err(CopyError::new(CopyErrorKind::Unavailable, "the server stops")))
    }

    async fn blob(&self, copy: &Repository, digest: &Digest) -> Result<Arrival, CopyError> {
        self.0.arrival(self.place(copy)?, *digest).await
    }

    async fn coming(&self, digest: &Digest, range: Range<u64>) -> Option<Body> {
        self.0.intake.coming(digest, range).await
    }

    async fn tags(&self, copy: &Repository, page: PageAfter) -> Result<ListedOf<Tag>, CopyError> {
        self.0.tags_of(self.place(copy)?, page_of(page)).await
    }

    async fn referrers(
        &self,
        copy: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: PageAfter,
    ) -> Result<ListedOf<Descriptor>, CopyError> {
        let artifact_type = artifact_type.map(str::to_owned);
        self.0.referrers_of(self.place(copy)?, *subject, artifact_type, page_of(page)).await
    }

    fn is_arriving(&self, copy: Option<&Repository>, digest: &Digest) -> bool {
        self.0.arrivals.is_coming(copy, digest)
    }
}
