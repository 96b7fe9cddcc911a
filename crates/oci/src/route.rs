//! The grammar of `/v2/` paths, and the only place that knows it.
//!
//! A path is read from the right and undecoded: repository names may contain segments such as `blobs` or `manifests`, so only the
//! last segments say what is asked. Nothing in a valid name or digest needs percent-encoding, and two programs that decode at
//! different moments would see different names, so an encoded name is refused.

use crate::digest::Digest;
use crate::error::{ErrorCode, OciError};
use crate::host::Host;
use crate::name::{ParseNameError, Reference, Repository};

/// The longest upload identifier in bytes.
const UPLOAD_ID_LEN_MAX: usize = 128;

/// The path of the extension that lists extensions; no segment of a name begins with an underscore.
const DISCOVER: &str = "_oci/ext/discover";

/// What a `/v2/` path names, whatever the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: is this a registry?
    Base,
    /// `/v2/_catalog`: the repositories.
    Catalog,
    /// `/v2/_oci/ext/discover` and `/v2/<name>/_oci/ext/discover`: which extensions there are (distribution-spec, "extensions").
    Extensions {
        /// The repository that is asked about; `None` for the registry as a whole.
        repository: Option<Repository>,
    },
    /// `/v2/<name>/blobs/<digest>`.
    Blob {
        /// Where the blob is linked.
        repository: Repository,
        /// Which blob.
        digest: Digest,
    },
    /// `/v2/<name>/blobs/uploads/`: where uploads begin.
    Uploads {
        /// Where the blob will be linked.
        repository: Repository,
    },
    /// `/v2/<name>/blobs/uploads/<id>`: one upload.
    Upload {
        /// Where the blob will be linked.
        repository: Repository,
        /// The identifier that we gave: letters, digits and `-_.=` only.
        id: String,
    },
    /// `/v2/<name>/manifests/<tag or digest>`.
    Manifest {
        /// Where the manifest is.
        repository: Repository,
        /// Which manifest.
        reference: Reference,
    },
    /// `/v2/<name>/tags/list`.
    Tags {
        /// Whose tags.
        repository: Repository,
    },
    /// `/v2/<name>/referrers/<digest>`.
    Referrers {
        /// Where the referrers are.
        repository: Repository,
        /// What they refer to.
        subject: Digest,
    },
}

/// A path split at the right place, nothing of it checked yet.
enum Shape<'a> {
    Base,
    Catalog,
    Extensions,
    Named { name: &'a str, word: Word<'a> },
}

enum Word<'a> {
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
    Manifest(&'a str),
    Tags,
    Referrers(&'a str),
    Extensions,
}

impl Route {
    /// Reads the path of a request to a registry, as it stands in the request line and without the query.
    ///
    /// Errors carry the protocol's code: 404 for a path that names nothing, else 400 NAME_INVALID, DIGEST_INVALID or TAG_INVALID.
    pub fn parse(path: &str) -> Result<Self, OciError> {
        match shape(path)? {
            Shape::Base => Ok(Self::Base),
            Shape::Catalog => Ok(Self::Catalog),
            Shape::Extensions => Ok(Self::Extensions { repository: None }),
            Shape::Named { name, word } => word.into_route(repository(name)?),
        }
    }

    /// Reads the path of a request to a mirror: the name may begin with the host of the registry that is meant, as in
    /// `/v2/registry.example.com:5000/team/app/manifests/v1`.
    ///
    /// The rule is Docker's: the first segment is a host when it has a dot or a colon or is `localhost`, and is not the only one.
    pub fn parse_mirror(path: &str) -> Result<(Option<Host>, Self), OciError> {
        match shape(path)? {
            Shape::Base => Ok((None, Self::Base)),
            Shape::Catalog => Ok((None, Self::Catalog)),
            Shape::Extensions => Ok((None, Self::Extensions { repository: None })),
            Shape::Named { name, word } => {
                let (host, name) = match name.split_once('/') {
                    Some((first, rest)) if Host::is_host_segment(first) => (Some(host(first)?), rest),
                    _ => (None, name),
                };
                Ok((host, word.into_route(repository(name)?)?))
            }
        }
    }

    /// The repository that the path names, if it names one.
    pub const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Extensions { repository } => repository.as_ref(),
            Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }

    /// The same of another repository; what names none stays as it is.
    #[must_use]
    pub fn in_repository(self, repository: Repository) -> Self {
        match self {
            Self::Base | Self::Catalog | Self::Extensions { repository: None } => self,
            Self::Extensions { .. } => Self::Extensions { repository: Some(repository) },
            Self::Blob { digest, .. } => Self::Blob { repository, digest },
            Self::Uploads { .. } => Self::Uploads { repository },
            Self::Upload { id, .. } => Self::Upload { repository, id },
            Self::Manifest { reference, .. } => Self::Manifest { repository, reference },
            Self::Tags { .. } => Self::Tags { repository },
            Self::Referrers { subject, .. } => Self::Referrers { repository, subject },
        }
    }

    /// A short constant word for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Extensions { .. } => "extensions",
            Self::Blob { .. } => "blob",
            Self::Uploads { .. } => "uploads",
            Self::Upload { .. } => "upload",
            Self::Manifest { .. } => "manifest",
            Self::Tags { .. } => "tags",
            Self::Referrers { .. } => "referrers",
        }
    }

    /// The path that names this; relative to no host, so it is safe in a `Location` behind any proxy.
    pub fn to_path(&self) -> String {
        match self {
            Self::Base => "/v2/".to_owned(),
            Self::Catalog => "/v2/_catalog".to_owned(),
            Self::Extensions { repository: None } => format!("/v2/{DISCOVER}"),
            Self::Extensions { repository: Some(repository) } => format!("/v2/{repository}/{DISCOVER}"),
            Self::Blob { repository, digest } => format!("/v2/{repository}/blobs/{digest}"),
            Self::Uploads { repository } => format!("/v2/{repository}/blobs/uploads/"),
            Self::Upload { repository, id } => format!("/v2/{repository}/blobs/uploads/{id}"),
            Self::Manifest { repository, reference } => format!("/v2/{repository}/manifests/{reference}"),
            Self::Tags { repository } => format!("/v2/{repository}/tags/list"),
            Self::Referrers { repository, subject } => format!("/v2/{repository}/referrers/{subject}"),
        }
    }
}

fn shape(path: &str) -> Result<Shape<'_>, OciError> {
    let rest = match path.strip_prefix("/v2") {
        Some("" | "/") => return Ok(Shape::Base),
        Some(rest) => rest.strip_prefix('/').ok_or_else(not_found)?,
        None => return Err(not_found()),
    };
    match rest {
        "_catalog" => return Ok(Shape::Catalog),
        DISCOVER => return Ok(Shape::Extensions),
        _ => {}
    }
    let (name, word) = named(rest).ok_or_else(not_found)?;
    Ok(Shape::Named { name, word })
}

/// Splits `<name>/<word>/<item>` from the right; `None` when no word is there.
fn named(rest: &str) -> Option<(&str, Word<'_>)> {
    if let Some(name) = strip_word(rest, "blobs/uploads").or_else(|| strip_word(rest, "blobs/uploads/")) {
        return Some((name, Word::Uploads));
    }
    if let Some(name) = strip_word(rest, DISCOVER) {
        return Some((name, Word::Extensions));
    }
    let (before, last) = rest.rsplit_once('/')?;
    if let Some(name) = strip_word(before, "blobs/uploads") {
        return Some((name, Word::Upload(last)));
    }
    let (name, word) = before.rsplit_once('/').unwrap_or(("", before));
    match word {
        "blobs" => Some((name, Word::Blob(last))),
        "manifests" => Some((name, Word::Manifest(last))),
        "tags" if last == "list" => Some((name, Word::Tags)),
        "referrers" => Some((name, Word::Referrers(last))),
        _ => None,
    }
}

/// What stands before `/<word>` at the end of `path`; nothing is also a (bad) name.
fn strip_word<'a>(path: &'a str, word: &str) -> Option<&'a str> {
    let before = path.strip_suffix(word)?;
    if before.is_empty() { Some("") } else { before.strip_suffix('/') }
}

impl Word<'_> {
    fn into_route(self, repository: Repository) -> Result<Route, OciError> {
        Ok(match self {
            Self::Blob(text) => Route::Blob { repository, digest: digest(text)? },
            Self::Uploads => Route::Uploads { repository },
            Self::Upload(id) => Route::Upload { repository, id: upload_id(id)? },
            Self::Manifest(text) => Route::Manifest { repository, reference: reference(text)? },
            Self::Tags => Route::Tags { repository },
            Self::Referrers(text) => Route::Referrers { repository, subject: digest(text)? },
            Self::Extensions => Route::Extensions { repository: Some(repository) },
        })
    }
}

fn repository(name: &str) -> Result<Repository, OciError> {
    refuse_encoding(name, ErrorCode::NameInvalid)?;
    name.parse().map_err(|error: ParseNameError| OciError::new(ErrorCode::NameInvalid, error.to_string()))
}

fn host(text: &str) -> Result<Host, OciError> {
    refuse_encoding(text, ErrorCode::NameInvalid)?;
    text.parse()
        .map_err(|error: crate::ParseHostError| OciError::new(ErrorCode::NameInvalid, error.to_string()))
}

fn digest(text: &str) -> Result<Digest, OciError> {
    refuse_encoding(text, ErrorCode::DigestInvalid)?;
    text.parse()
        .map_err(|error: crate::ParseDigestError| OciError::new(ErrorCode::DigestInvalid, error.to_string()))
}

fn reference(text: &str) -> Result<Reference, OciError> {
    refuse_encoding(text, ErrorCode::TagInvalid)?;
    text.parse().map_err(|error: ParseNameError| {
        let code = match error {
            ParseNameError::Digest(_) => ErrorCode::DigestInvalid,
            _ => ErrorCode::TagInvalid,
        };
        OciError::new(code, error.to_string())
    })
}

fn upload_id(text: &str) -> Result<String, OciError> {
    let valid = (1..=UPLOAD_ID_LEN_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte));
    if valid {
        Ok(text.to_owned())
    } else {
        Err(OciError::new(ErrorCode::BlobUploadUnknown, "there is no such upload"))
    }
}

fn refuse_encoding(text: &str, code: ErrorCode) -> Result<(), OciError> {
    if text.contains('%') {
        return Err(OciError::new(code, "names, tags and digests are written without percent-encoding"));
    }
    Ok(())
}

/// The specification has no code for a path outside its grammar; UNSUPPORTED is the nearest.
fn not_found() -> OciError {
    OciError::new(ErrorCode::Unsupported, "there is nothing at this path").with_status(404)
}

#[cfg(test)]
mod tests;
