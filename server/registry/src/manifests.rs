//! Manifests: stored and served byte for byte, under a tag or under the digest that the client asked with.
//!
//! What a manifest says is checked once, when it comes in (`shoal_oci::manifest`); whether what it references is here is decided
//! inside the transaction that stores it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use shoal_api::tags::{DeleteOutcome, PutManifest, PutOutcome, References};
use shoal_http::{Body, Response};
use shoal_oci::{
    Descriptor, Digest, ErrorCode, Manifest, ManifestType, Reference, Repository, Route, Tag, reply,
};

use crate::call::Call;
use crate::context::Context;
use crate::error::{self, Answer, Refusal};
use crate::{answer, condition, copies, events, tag_rights};

/// GET and HEAD.
pub(crate) async fn get(cx: &Context, call: &Call, repository: &Repository, reference: &Reference) -> Answer {
    let copied = copies::resolve(cx, repository, reference).await?;
    let digest = match &copied {
        Some(resolution) => resolution.digest,
        None => look_up(cx, repository, reference).await?.digest,
    };
    // Looked up once more after the vouch, because retention may have removed it in between; from now on it stays for a while.
    cx.leases.vouch(repository, &digest).await;
    let found = look_up(cx, repository, &Reference::Digest(digest)).await?;
    // Who asks for a tag uses it, even if it is only to hear that nothing has changed (agents) or what it names (containerd, by HEAD).
    if call.method == Method::GET || matches!(reference, Reference::Tag(_)) {
        cx.tags.pulled(repository, reference);
    }
    let mut response = match condition::of_read(call, &found.digest)? {
        Some(answer) => answer,
        None => content(cx, call, repository, reference, &found),
    };
    if let Some(resolution) = &copied {
        copies::tell(&mut response, resolution);
    }
    Ok(response)
}

/// 200 with the document, or with its head alone.
fn content(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    reference: &Reference,
    found: &shoal_api::tags::Manifest,
) -> Response {
    let mut response = answer::content(&found.digest, content_type(found), found.bytes.len() as u64);
    if call.method == Method::GET {
        events::manifest_pulled(cx, call, repository, reference, found);
        cx.metrics.sent_bytes.inc_by(found.bytes.len() as u64);
        *response.body_mut() = Body::from(found.bytes.clone());
    }
    response
}

async fn look_up(
    cx: &Context,
    repository: &Repository,
    reference: &Reference,
) -> Result<Arc<shoal_api::tags::Manifest>, Refusal> {
    if let Some(found) = cx.tags.manifest_cached(repository, reference) {
        return Ok(found);
    }
    match cx.tags.manifest(repository, reference).await? {
        Some(found) => Ok(Arc::new(found)),
        None => Err(error::manifest_unknown(reference)),
    }
}

/// The header for the type that a manifest was stored with.
fn content_type(found: &shoal_api::tags::Manifest) -> HeaderValue {
    match ManifestType::parse(&found.media_type) {
        Some(known) => HeaderValue::from_static(known.as_str()),
        None => HeaderValue::from_str(&found.media_type)
            .unwrap_or(HeaderValue::from_static(shoal_oci::media_type::OCTET_STREAM)),
    }
}

/// PUT: stores a manifest under its digest and moves the tags to it.
pub(crate) async fn put(
    cx: &Context,
    call: &mut Call,
    repository: Repository,
    reference: Reference,
) -> Answer {
    let mut tags = call.query.tags()?;
    let condition = condition::of_write(call)?;
    let bytes = read(cx, call).await?;
    let content_type = call.header(&header::CONTENT_TYPE)?.map(str::to_owned);
    let untyped = content_type.is_none();
    let (digest, manifest) = checked(cx, bytes.clone(), content_type, &reference).await?;
    check_sizes(cx, &manifest)?;
    // Only parameters are confirmed with OCI-Tag; the tag in the path is confirmed by the 201.
    let confirmed = tags.clone();
    if let Reference::Tag(tag) = reference
        && !tags.contains(&tag)
    {
        tags.push(tag);
    }
    let rights = tag_rights::of_push(cx, call, &repository, &tags).await?;
    let sparse = cx.options.sparse_allowed;
    let record = PutManifest {
        references: if sparse { References::Sparse } else { References::Required },
        condition,
        overwrite: rights.overwrite,
        immutable: rights.immutable.clone(),
        outbox: pushed(cx, call, &repository, digest, bytes.len() as u64, &manifest, &tags),
        ..PutManifest::of(repository.clone(), digest, bytes, &manifest, tags)
    };
    store(cx, call, record).await?;
    drop(rights);
    cx.leases.touch(&repository, &digest);
    Ok(created(repository, digest, &manifest, &confirmed, untyped))
}

/// Longest document that is hashed and read on the spot. This takes some 100 µs; larger ones would hold up other requests and go to
/// a thread of their own.
const CHECK_INLINE_LEN_MAX: usize = 64 * 1024;

/// What the document says, and its digest under the algorithm that it is pushed with.
async fn checked(
    cx: &Context,
    bytes: Bytes,
    content_type: Option<String>,
    reference: &Reference,
) -> Result<(Digest, Manifest), Refusal> {
    if bytes.len() <= CHECK_INLINE_LEN_MAX {
        return check(&bytes, content_type.as_deref(), reference);
    }
    let named = reference.clone();
    cx.blocking_push(move |_| check(&bytes, content_type.as_deref(), &named)).await?
}

/// Compares what the document says of its blobs with those that are here.
///
/// Clients check the size of what they pull, so such an image could not be pulled by anyone.
fn check_sizes(cx: &Context, manifest: &Manifest) -> Result<(), Refusal> {
    for stated in manifest.required_blobs() {
        let Some(size) = cx.stat(&stated.digest)? else { continue };
        if size != stated.size {
            let message = "the manifest states another size for a blob than the blob has";
            let detail = json!({ "digest": stated.digest, "stated": stated.size, "got": size });
            return Err(Refusal::new(ErrorCode::ManifestInvalid, message).with_detail(detail));
        }
    }
    Ok(())
}

/// DELETE: of a tag, only the tag; of a digest, the manifest and every tag that names it.
pub(crate) async fn delete(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    reference: &Reference,
) -> Answer {
    let condition = condition::of_write(call)?;
    let outbox = events::deleted(cx, call, repository, reference);
    let outcome = match reference {
        Reference::Tag(tag) => {
            tag_rights::check_delete_tag(call, repository, tag)?;
            cx.tags.delete_tag(repository, tag, condition, outbox).await?
        }
        Reference::Digest(digest) => {
            let _order = tag_rights::check_delete_digest(cx, call, repository, digest).await?;
            cx.tags.delete_manifest(repository, digest, condition, outbox).await?
        }
    };
    match outcome {
        DeleteOutcome::Deleted { .. } => Ok(answer::empty(StatusCode::ACCEPTED, Vec::new())),
        DeleteOutcome::NotFound => Err(error::manifest_unknown(reference)),
        DeleteOutcome::PreconditionFailed { current } => Err(condition::failed(current.as_ref())),
    }
}

/// Reads the body within the time that a manifest has.
async fn read(cx: &Context, call: &mut Call) -> Result<Bytes, Refusal> {
    let time_max = cx.options.manifest_time_max;
    match tokio::time::timeout(time_max, collect(cx, call)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(call.give_up(time_max).into()),
    }
}

/// Reads the body, and refuses one that is too long as soon as that is known.
async fn collect(cx: &Context, call: &mut Call) -> Result<Bytes, Refusal> {
    let len_max = cx.options.manifest_size_max;
    let stated = call.body_len;
    if stated.is_some_and(|len| len > len_max) {
        return Err(too_long(len_max));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = call.gather(cx.options.body_stall_max).await? {
        if bytes.len() as u64 + frame.len() as u64 > len_max {
            return Err(too_long(len_max));
        }
        cx.metrics.received_bytes.inc_by(frame.len() as u64);
        // Most manifests come in one frame, which is then not copied.
        if bytes.is_empty() && stated == Some(frame.len() as u64) {
            return Ok(frame);
        }
        bytes.extend_from_slice(&frame);
    }
    match stated {
        Some(stated) if stated != bytes.len() as u64 => {
            let message = format!("the body has {} bytes where {stated} were stated", bytes.len());
            Err(Refusal::new(ErrorCode::SizeInvalid, message))
        }
        _ => Ok(bytes.freeze()),
    }
}

fn too_long(len_max: u64) -> Refusal {
    Refusal::new(ErrorCode::SizeInvalid, format!("a manifest has at most {len_max} bytes"))
        .with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// What the document says, and its digest under the algorithm that it is pushed with.
fn check(
    bytes: &[u8],
    content_type: Option<&str>,
    reference: &Reference,
) -> Result<(Digest, Manifest), Refusal> {
    let digest = match reference {
        Reference::Tag(_) => Digest::sha256(bytes),
        Reference::Digest(stated) => Digest::of(stated.algorithm(), bytes),
    };
    if let Reference::Digest(stated) = reference
        && digest != *stated
    {
        let detail = json!({ "stated": stated, "got": digest });
        return Err(Refusal::new(ErrorCode::DigestInvalid, "the manifest does not have this digest")
            .with_detail(detail));
    }
    Ok((digest, Manifest::parse(bytes, content_type)?))
}

/// The messages that tell of the push.
fn pushed(
    cx: &Context,
    call: &Call,
    repository: &Repository,
    digest: Digest,
    size: u64,
    manifest: &Manifest,
    tags: &[Tag],
) -> Vec<Bytes> {
    let descriptor = Descriptor::new(manifest.media_type().to_string(), digest, size);
    events::manifest_pushed(cx, call, repository, &descriptor, manifest, tags)
}

async fn store(cx: &Context, call: &Call, record: PutManifest) -> Result<(), Refusal> {
    if record.references == References::Required {
        // Linked, but its content was lost: see Context::blob_in.
        let mut lost = Vec::new();
        for blob in &record.blobs {
            if cx.stat(blob)?.is_none() {
                lost.push(*blob);
            }
        }
        if !lost.is_empty() {
            return Err(missing(&lost, &[]));
        }
    }
    let (repository, immutable) = (record.repository.clone(), record.immutable.clone());
    match cx.tags.put_manifest(record).await? {
        PutOutcome::Stored { .. } => Ok(()),
        PutOutcome::Missing { blobs, children } => Err(missing(&blobs, &children)),
        PutOutcome::PreconditionFailed { current } => Err(condition::failed(current.as_ref())),
        PutOutcome::TagExists { tag, current } => {
            let stays = immutable.contains(&tag);
            Err(tag_rights::tag_exists(call, &repository, &tag, &current, stays))
        }
    }
}

fn missing(blobs: &[Digest], children: &[Digest]) -> Refusal {
    let named = |kind: &'static str| move |digest: &Digest| json!({ "digest": digest, "kind": kind });
    let detail: Vec<Value> =
        blobs.iter().map(named("blob")).chain(children.iter().map(named("manifest"))).collect();
    let message = "the manifest references content that is not in this repository; push that first";
    Refusal::new(ErrorCode::ManifestBlobUnknown, message).with_detail(detail.into())
}

fn created(
    repository: Repository,
    digest: Digest,
    manifest: &Manifest,
    tags: &[Tag],
    untyped: bool,
) -> Response {
    let path = Route::Manifest { repository, reference: Reference::Digest(digest) }.to_path();
    let mut headers = vec![
        ("location", path),
        ("docker-content-digest", digest.to_string()),
        ("etag", reply::etag(&digest)),
    ];
    if let Some(subject) = manifest.subject() {
        headers.push(("oci-subject", subject.digest.to_string()));
    }
    headers.extend(tags.iter().map(|tag| ("oci-tag", tag.to_string())));
    if untyped {
        // RFC 9111 §5.5, as distribution-spec "Warnings" asks for it.
        let text = format!("299 - \"no Content-Type was sent; stored as {}\"", manifest.media_type());
        headers.push(("warning", text));
    }
    answer::empty(StatusCode::CREATED, headers)
}
