//! What the caller may do to tags: create them, move them, delete them, and which of them stay where they are.
//!
//! Whether a tag exists is known only inside the transaction that changes it, so the rights travel there with the change
//! (`PutManifest::overwrite`, `PutManifest::immutable`). What a delete by digest takes along is looked up before; meanwhile no immutable tag is
//! made, which [`FrozenTags`] sees to.

use shoal_api::tags::TAGS_NEEDING_MAX;
use shoal_auth::Action;
use shoal_oci::{Digest, ErrorCode, Repository, Tag};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::call::Call;
use crate::context::Context;
use crate::error::Refusal;

/// Orders pushes of immutable tags and deletes by digest that could take one along: any number of the former, or one of the latter.
///
/// A lock of tokio that is held over the transaction is what is wanted here; neither happens often, and requests about other tags do not take it.
#[derive(Debug, Default)]
pub(crate) struct FrozenTags(RwLock<()>);

/// What a push may do to its tags.
#[derive(Debug)]
pub(crate) struct TagRights<'a> {
    /// Whether those that exist may move.
    pub(crate) overwrite: bool,
    /// Those that may be made and then stay.
    pub(crate) immutable: Vec<Tag>,
    /// Held until the push is done.
    _order: Option<RwLockReadGuard<'a, ()>>,
}

/// What the caller may do to `tags` with a push.
///
/// # Errors
/// When they may only move tags, and one of these does not exist. Looked up before the transaction: a tag that is deleted in between is made
/// anew, which is what the last pusher could have done a moment before.
pub(crate) async fn of_push<'a>(
    cx: &'a Context,
    call: &Call,
    repository: &Repository,
    tags: &[Tag],
) -> Result<TagRights<'a>, Refusal> {
    let access = &call.access;
    if access.is_open() {
        return Ok(TagRights { overwrite: true, immutable: Vec::new(), _order: None });
    }
    if !access.may(Action::Create, repository) {
        for tag in tags {
            if cx.tags.resolve(repository, tag).await?.is_none() {
                let refusal =
                    Refusal::new(ErrorCode::Denied, "you may move tags that exist, and not make new ones")
                        .with_detail(serde_json::json!({ "tag": tag }));
                return Err(access.deny(Action::Create, repository, tag.as_str(), "policy", refusal));
            }
        }
    }
    let immutable = access.immutable(repository, tags);
    let order = if immutable.is_empty() { None } else { Some(cx.frozen_tags.0.read().await) };
    Ok(TagRights { overwrite: access.may(Action::Overwrite, repository), immutable, _order: order })
}

/// The answer to a push of a tag that exists and may not move.
pub(crate) fn tag_exists(
    call: &Call,
    repository: &Repository,
    tag: &Tag,
    current: &Digest,
    immutable: bool,
) -> Refusal {
    let (reason, message) = if immutable {
        ("immutable_tag", "the tag exists and is immutable; push under another tag")
    } else {
        ("overwrite", "the tag exists and you may not move it; push under another tag")
    };
    let refusal = Refusal::new(ErrorCode::Denied, message)
        .with_detail(serde_json::json!({ "tag": tag, "current": current }));
    call.access.deny(Action::Overwrite, repository, tag.as_str(), reason, refusal)
}

/// Refuses to delete a tag that stays.
pub(crate) fn check_delete_tag(call: &Call, repository: &Repository, tag: &Tag) -> Result<(), Refusal> {
    match call.access.immutable(repository, [tag]).first() {
        None => Ok(()),
        Some(tag) => Err(stays(call, repository, tag)),
    }
}

/// Refuses to delete a manifest or a blob that a tag needs which stays: what it names, and every part of that. What is returned is held
/// until the deletion is done.
pub(crate) async fn check_delete_digest<'a>(
    cx: &'a Context,
    call: &Call,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<RwLockWriteGuard<'a, ()>>, Refusal> {
    if !call.access.has_immutable(repository) {
        return Ok(None);
    }
    let order = cx.frozen_tags.0.write().await;
    let tags = cx.tags.tags_needing(repository, digest).await?;
    match call.access.immutable(repository, &tags).first() {
        // Among those that did not fit may be one that stays.
        None if tags.len() >= TAGS_NEEDING_MAX => {
            let message = "too many tags need it to tell whether one of them is immutable; delete tags first";
            let refusal = Refusal::new(ErrorCode::Denied, message);
            Err(call.access.deny(Action::Delete, repository, &digest.to_string(), "immutable_tag", refusal))
        }
        None => Ok(Some(order)),
        Some(tag) => Err(stays(call, repository, tag)),
    }
}

fn stays(call: &Call, repository: &Repository, tag: &Tag) -> Refusal {
    let refusal = Refusal::new(
        ErrorCode::Denied,
        "the tag is immutable, so neither it nor what it needs can be deleted",
    )
    .with_detail(serde_json::json!({ "tag": tag }));
    call.access.deny(Action::Delete, repository, tag.as_str(), "immutable_tag", refusal)
}
