//! Lists of copies: the tags that an upstream has, and what refers to a manifest there. Asked of the upstream page by page, remembered for as
//! long as answers about its tags hold, and given from memory, however old, while it cannot be asked.
//!
//! A page is remembered as it was asked for. The memory is bounded and starts anew when it is full: lists are asked for rarely, and one
//! question brings a page back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_api::{CopyError, CopyErrorKind, Freshness, ListedOf};
use shoal_oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use shoal_upstream::{ListPage, Listed, UpstreamError, UpstreamErrorKind};
use tokio::time::Instant;

use crate::copies::{Inner, Place};
use crate::manifests::of_upstream;
use crate::policy::Validity;

/// Entries of all pages that are remembered, at most: some ten megabytes.
const ENTRIES_MAX: usize = 100_000;

/// Entries that a page counts for beside its own: its name and its place in the table.
const PAGE_COST: usize = 10;

/// How long an upstream may take when a page is remembered.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// The tags.
    Tags,
    /// What refers to a manifest, of one type or any.
    Referrers(Digest, Option<String>),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum List {
    Tags(Listed<Tag>),
    Referrers(Listed<Descriptor>),
}

/// One page of one list of one copy.
pub(crate) type Key = (Repository, Question, ListPage);

/// A page, who says so, and for how long.
pub(crate) type Told = (Arc<List>, Freshness, Duration);

/// The pages that are remembered.
#[derive(Default)]
pub(crate) struct Lists(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    entries: usize,
    known: HashMap<Key, (Arc<List>, Instant)>,
}

impl List {
    fn len(&self) -> usize {
        match self {
            Self::Tags(page) => page.items.len(),
            Self::Referrers(page) => page.items.len(),
        }
    }
}

impl Lists {
    fn get(&self, key: &Key) -> Option<(Arc<List>, Duration)> {
        self.lock().known.get(key).map(|(list, at)| (Arc::clone(list), at.elapsed()))
    }

    fn put(&self, key: Key, list: Arc<List>) {
        let mut pages = self.lock();
        let cost = list.len() + PAGE_COST;
        if pages.entries + cost > ENTRIES_MAX {
            *pages = Pages::default();
        }
        pages.entries += cost;
        if let Some((old, _)) = pages.known.insert(key, (list, Instant::now())) {
            pages.entries = pages.entries.saturating_sub(old.len() + PAGE_COST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A page of the tags that the upstream has.
    pub(crate) async fn tags_of(
        self: &Arc<Self>,
        place: Place,
        page: ListPage,
    ) -> Result<ListedOf<Tag>, CopyError> {
        let (list, freshness, age) = self.list(place, Question::Tags, page).await?;
        Ok(match &*list {
            List::Tags(page) => told(page, freshness, age),
            List::Referrers(_) => told(&Listed { items: Vec::new(), next: None }, freshness, age),
        })
    }

    /// A page of what refers to `subject` at the upstream.
    pub(crate) async fn referrers_of(
        self: &Arc<Self>,
        place: Place,
        subject: Digest,
        artifact_type: Option<String>,
        page: ListPage,
    ) -> Result<ListedOf<Descriptor>, CopyError> {
        let (list, freshness, age) =
            self.list(place, Question::Referrers(subject, artifact_type), page).await?;
        Ok(match &*list {
            List::Referrers(page) => told(page, freshness, age),
            List::Tags(_) => told(&Listed { items: Vec::new(), next: None }, freshness, age),
        })
    }

    async fn list(
        self: &Arc<Self>,
        place: Place,
        question: Question,
        page: ListPage,
    ) -> Result<Told, CopyError> {
        let key = (place.copy.clone(), question, page);
        let rule = self.policies[place.entry].of_lists(&place.remote);
        let valid = match rule.validity {
            Validity::For(valid) => valid,
            // New tags may come where the old ones do not move.
            Validity::Immutable => Duration::ZERO,
        };
        let known = self.lists.get(&key);
        if let Some((list, age)) = known.as_ref().filter(|(_, age)| *age < valid) {
            return Ok((Arc::clone(list), Freshness::Fresh, *age));
        }
        let bound = known.as_ref().map(|_| ASK_AGAIN_MAX);
        let work = || Arc::clone(self).ask_list(place.clone(), key.clone());
        let asked = self.list_flights.join(&key, work);
        let asked = match bound {
            // The flight goes on, and what it brings is remembered.
            Some(bound) => tokio::time::timeout(bound, asked).await.ok().flatten(),
            None => asked.await,
        };
        match (asked, known) {
            (Some(Ok(list)), _) => Ok((list, Freshness::Revalidated, Duration::ZERO)),
            (Some(Err(error)), None) => Err(of_upstream(&error)),
            (Some(Err(error)), Some(_)) if error.kind() != UpstreamErrorKind::Unavailable => {
                Err(of_upstream(&error))
            }
            (_, Some((list, age))) if rule.stale_max.is_none_or(|max| age <= max) => {
                Ok((list, Freshness::Stale, age))
            }
            (Some(Err(error)), Some(_)) => Err(of_upstream(&error)),
            (None, _) => {
                let why = format!("{} took more than {ASK_AGAIN_MAX:?}", place.upstream.name());
                Err(CopyError::new(CopyErrorKind::Unavailable, why))
            }
        }
    }

    async fn ask_list(self: Arc<Self>, place: Place, key: Key) -> Result<Arc<List>, Arc<UpstreamError>> {
        let (_, question, page) = &key;
        let list = match question {
            Question::Tags => place.upstream.tags(&place.remote, page).await.map(List::Tags),
            Question::Referrers(subject, artifact_type) => {
                self.ask_referrers(&place, subject, artifact_type.as_deref(), page).await.map(List::Referrers)
            }
        };
        let list = list.map(Arc::new).inspect_err(|error| {
            tracing::info!(copy = %place.copy, ?question, %error, "a list was not had from the upstream");
        })?;
        self.lists.put(key, Arc::clone(&list));
        Ok(list)
    }

    /// Of an upstream that does not know referrers, what clients agreed to write under a tag instead (distribution-spec, "referrers tag
    /// schema").
    async fn ask_referrers(
        &self,
        place: &Place,
        subject: &Digest,
        artifact_type: Option<&str>,
        page: &ListPage,
    ) -> Result<Listed<Descriptor>, UpstreamError> {
        let asked = place.upstream.referrers(&place.remote, subject, artifact_type, page).await;
        match asked {
            Err(UpstreamError::NotFound(_) | UpstreamError::Invalid { .. }) if page.after.is_none() => {}
            asked => return asked,
        }
        let none = Listed { items: Vec::new(), next: None };
        let tag = subject.to_string().replacen(':', "-", 1);
        let Ok(reference) = tag.parse::<Reference>() else { return Ok(none) };
        let found = match place.upstream.manifest(&place.remote, &reference, None).await {
            Err(UpstreamError::NotFound(_)) => return Ok(none),
            found => found?,
        };
        let Ok(Manifest::Index(index)) = Manifest::parse(&found.bytes, found.content_type.as_deref()) else {
            return Ok(none);
        };
        let wanted = |found: &Descriptor| {
            artifact_type.is_none_or(|wanted| found.artifact_type.as_deref() == Some(wanted))
        };
        Ok(Listed { items: index.manifests.into_iter().filter(wanted).collect(), next: None })
    }
}

fn told<T: Clone>(page: &Listed<T>, freshness: Freshness, age: Duration) -> ListedOf<T> {
    ListedOf { items: page.items.clone(), next: page.next.clone(), freshness, age: Some(age) }
}
