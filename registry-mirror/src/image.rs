//! Names of images as people write them: `registry.example.com/team/app:v1`, `team/app@sha256:…`.

use std::fmt;
use std::str::FromStr;

use shoal_oci::{Host, Reference, Repository};

/// What a name means when it says no tag.
const LATEST: &str = "latest";

/// An image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// The registry that it names, if any.
    pub host: Option<Host>,
    /// The repository there.
    pub repository: Repository,
    /// The tag, or the digest, which counts more.
    pub reference: Reference,
}

/// It is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no image; write it as team/app:v1, registry.example.com/team/app:v1 or team/app@sha256:…")]
pub struct ImageNameError(String);

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let wrong = || ImageNameError(text.to_owned());
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let path = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[path..].split_once(':') {
            Some((last, tag)) => (&name[..path + last.len()], Some(tag)),
            None => (name, None),
        };
        let reference = digest.or(tag).unwrap_or(LATEST).parse().map_err(|_| wrong())?;
        let (host, repository) = match name.split_once('/') {
            Some((host, rest)) if Host::is_host_segment(host) => {
                (Some(host.parse().map_err(|_| wrong())?), rest)
            }
            _ => (None, name),
        };
        Ok(Self { host, repository: repository.parse().map_err(|_| wrong())?, reference })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        let sign = if matches!(self.reference, Reference::Digest(_)) { '@' } else { ':' };
        write!(f, "{}{sign}{}", self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        let digest = shoal_oci::Digest::sha256(b"x");
        for (text, shown) in [
            ("app", "app:latest"),
            ("team/app:v1", "team/app:v1"),
            ("registry.example.com/team/app", "registry.example.com/team/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1"),
            (&format!("team/app:v1@{digest}"), &format!("team/app@{digest}")),
        ] {
            let name: ImageName = text.parse().unwrap();
            assert_eq!(name.to_string(), shown, "{text}");
            assert_eq!(name.to_string().parse(), Ok(name), "{text}");
        }
        for bad in ["", ":v1", "UPPER/app", "team/app:", "team/app@sha256:12", "a b", "registry.example.com/"]
        {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }
}
