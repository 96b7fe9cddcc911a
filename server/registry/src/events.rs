//! What the role tells about itself, in the words of [`shoal_api::events`]. Costs nothing when nobody wants to hear it.

use bytes::Bytes;
use shoal_api::events::{Action, Event, Subject};
use shoal_oci::{Descriptor, Digest, Manifest, Reference, Repository, Tag};

use crate::call::Call;
use crate::context::Context;

/// The messages of a pushed manifest: one for each tag, one without when there are none.
pub(crate) fn manifest_pushed(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    descriptor: &Descriptor,
    manifest: &Manifest,
    tags: &[Tag],
) -> Vec<Bytes> {
    if !cx.events.wants(Action::Push) {
        return Vec::new();
    }
    let references = references(manifest);
    let told = |tag: Option<&Tag>| Event {
        action: Action::Push,
        repository: repository.clone(),
        subject: Subject::Manifest {
            descriptor: descriptor.clone(),
            tag: tag.cloned(),
            references: references.clone(),
        },
    };
    let caller = call.caller();
    match tags {
        [] => cx.events.payloads(told(None), &caller),
        tags => tags.iter().flat_map(|tag| cx.events.payloads(told(Some(tag)), &caller)).collect(),
    }
}

/// Tells that a manifest was read.
pub(crate) fn manifest_pulled(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    reference: &Reference,
    found: &shoal_api::tags::Manifest,
) {
    if !cx.events.wants(Action::Pull) {
        return;
    }
    let tag = match reference {
        Reference::Tag(tag) => Some(tag.clone()),
        Reference::Digest(_) => None,
    };
    let descriptor = Descriptor::new(found.media_type.clone(), found.digest, found.bytes.len() as u64);
    // What it names would have to be read out of it again, at every pull.
    let subject = Subject::Manifest { descriptor, tag, references: Vec::new() };
    let event = Event { action: Action::Pull, repository: repository.clone(), subject };
    cx.events.pulled(event, &call.caller());
}

/// The messages of a blob that became part of a repository, by a push or, with `from`, by a mount.
pub(crate) fn blob_linked(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: Digest,
    size: u64,
    from: Option<Repository>,
) -> Vec<Bytes> {
    let action = if from.is_some() { Action::Mount } else { Action::Push };
    told(cx, call, action, repository, || Subject::Blob { digest, size, from })
}

/// Tells that a blob was read.
pub(crate) fn blob_pulled(cx: &Context, call: &Call, repository: &Repository, digest: &Digest, size: u64) {
    if cx.events.wants(Action::Pull) {
        let subject = Subject::Blob { digest: *digest, size, from: None };
        let event = Event { action: Action::Pull, repository: repository.clone(), subject };
        cx.events.pulled(event, &call.caller());
    }
}

/// The messages of a tag, a manifest or a blob that is deleted.
pub(crate) fn deleted(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    reference: &Reference,
) -> Vec<Bytes> {
    told(cx, call, Action::Delete, repository, || match reference {
        Reference::Tag(tag) => Subject::GoneTag(tag.clone()),
        Reference::Digest(digest) => Subject::Gone(*digest),
    })
}

fn told(
    cx: &Context,
    call: &Call,
    action: Action,
    repository: &Repository,
    subject: impl FnOnce() -> Subject,
) -> Vec<Bytes> {
    if !cx.events.wants(action) {
        return Vec::new();
    }
    let event = Event { action, repository: repository.clone(), subject: subject() };
    cx.events.payloads(event, &call.caller())
}

fn references(manifest: &Manifest) -> Vec<Descriptor> {
    match manifest {
        Manifest::Image(image) => std::iter::once(&image.config).chain(&image.layers).cloned().collect(),
        Manifest::Index(index) => index.manifests.clone(),
    }
}
