//! Manifests: stored and served byte for byte, under a tag or under the digest that the client asked with.
//!
//! What a manifest says is checked once, when it comes in (`shoal_oci::manifest`); whether what it references is here is decided
//! inside the transaction that stores it.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use shoal_api::tags::{Condition, DeleteOutcome, PutManifest, PutOutcome, References};
use shoal_http::Response;
use shoal_oci::{Digest, ErrorCode, Manifest, Reference, Repository, Route, Tag, reply};

use crate::answer;
use crate::call::Call;
use crate::context::Context;
use crate::error::{Answer, Refusal};

/// GET and HEAD.
pub(crate) async fn get(cx: &Context, call: &Call, repository: &Repository, reference: &Reference) -> Answer {
    let Some(found) = cx.tags.manifest(repository, reference).await? else { return Err(unknown(reference)) };
    if call.header(&header::IF_NONE_MATCH)?.is_some_and(|tags| reply::not_modified(tags, &found.digest)) {
        let headers =
            vec![("etag", reply::etag(&found.digest)), ("docker-content-digest", found.digest.to_string())];
        return Ok(answer::empty(StatusCode::NOT_MODIFIED, headers));
    }
    let headers = reply::manifest(&found.digest, &found.media_type, found.bytes.len() as u64);
    if call.method == Method::GET {
        cx.metrics.sent_bytes.inc_by(found.bytes.len() as u64);
    }
    Ok(answer::with(StatusCode::OK, headers, found.bytes))
}

/// PUT: stores a manifest under its digest and moves the tags to it.
pub(crate) async fn put(
    cx: &Context,
    call: &mut Call,
    repository: Repository,
    reference: Reference,
) -> Answer {
    let mut tags = call.query.tags()?;
    let bytes = read(cx, call).await?;
    let content_type = call.header(&header::CONTENT_TYPE)?.map(str::to_owned);
    let (named, document) = (reference.clone(), bytes.clone());
    // Hashing and reading 8 MiB takes long enough to hold up other requests.
    let (digest, manifest) =
        cx.blocking(move |_| check(&document, content_type.as_deref(), &named)).await??;
    // Only parameters are confirmed with OCI-Tag; the tag in the path is confirmed by the 201.
    let confirmed = tags.clone();
    if let Reference::Tag(tag) = reference
        && !tags.contains(&tag)
    {
        tags.push(tag);
    }
    store(cx, record(cx, &repository, digest, bytes, &manifest, tags)).await?;
    Ok(created(repository, digest, &manifest, &confirmed))
}

/// DELETE: of a tag, only the tag; of a digest, the manifest and every tag that names it.
pub(crate) async fn delete(cx: &Context, repository: &Repository, reference: &Reference) -> Answer {
    let condition = Condition::default();
    let deleted = match reference {
        Reference::Tag(tag) => cx.tags.delete_tag(repository, tag, condition, Vec::new()).await?,
        Reference::Digest(digest) => {
            cx.tags.delete_manifest(repository, digest, condition, Vec::new()).await?
        }
    };
    if matches!(deleted, DeleteOutcome::Deleted { .. }) {
        Ok(answer::empty(StatusCode::ACCEPTED, Vec::new()))
    } else {
        Err(unknown(reference))
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
    while let Some(frame) = call.next(cx.options.body_stall_max).await? {
        if bytes.len() as u64 + frame.len() as u64 > len_max {
            return Err(too_long(len_max));
        }
        cx.metrics.received_bytes.inc_by(frame.len() as u64);
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

/// What is handed to the cluster's memory.
fn record(
    cx: &Context,
    repository: &Repository,
    digest: Digest,
    bytes: Bytes,
    manifest: &Manifest,
    tags: Vec<Tag>,
) -> PutManifest {
    let references = if cx.options.sparse_allowed { References::Sparse } else { References::Required };
    PutManifest {
        repository: repository.clone(),
        digest,
        media_type: manifest.media_type().to_string(),
        bytes,
        blobs: manifest.blobs(),
        blobs_optional: manifest.blobs_optional(),
        children: manifest.children(),
        subject: manifest.subject().map(|subject| subject.digest),
        artifact_type: manifest.artifact_type().map(str::to_owned),
        annotations: manifest.annotations().clone(),
        tags,
        references,
        condition: Condition::default(),
        immutable: Vec::new(),
        overwrite: true,
        outbox: Vec::new(),
    }
}

async fn store(cx: &Context, record: PutManifest) -> Result<(), Refusal> {
    if record.references == References::Required {
        // Linked, but its content was lost: see Context::blob_in.
        let lost: Vec<_> =
            record.blobs.iter().copied().filter(|blob| cx.store.stat(blob).is_none()).collect();
        if !lost.is_empty() {
            return Err(missing(&lost, &[]));
        }
    }
    match cx.tags.put_manifest(record).await? {
        PutOutcome::Stored { .. } => Ok(()),
        PutOutcome::Missing { blobs, children } => Err(missing(&blobs, &children)),
        // Neither a condition nor a limit on tags was stated.
        PutOutcome::PreconditionFailed { .. } | PutOutcome::TagExists { .. } => {
            Err(Refusal::new(ErrorCode::Denied, "the tag may not move"))
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

fn created(repository: Repository, digest: Digest, manifest: &Manifest, tags: &[Tag]) -> Response {
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
    answer::empty(StatusCode::CREATED, headers)
}

fn unknown(reference: &Reference) -> Refusal {
    Refusal::new(ErrorCode::ManifestUnknown, "the manifest is not in this repository")
        .with_detail(json!({ "reference": reference.to_string() }))
}
