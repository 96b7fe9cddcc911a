//! What a drill's clients do: the requests of the distribution API, each with the status that came back.
//!
//! An error means that no whole answer came: whatever was asked may have happened or not. A status is an acknowledgement.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use shoal_oci::Digest;

use super::content::Content;
use crate::wire::{Wire, target, with_parameter};

/// The media type of every manifest that drills make.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// No answer after this long is a hang. Generous, because a debug build on a busy machine syncs large blobs slowly.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

/// How a blob is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// POST with the digest and the bytes.
    AtOnce,
    /// POST, then PUT with the bytes.
    Put,
    /// POST, one PATCH without a range, PUT without bytes: as docker does.
    Stream,
    /// POST, several PATCHes with ranges, PUT with the last bytes.
    Chunks,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AtOnce, Self::Put, Self::Stream, Self::Chunks];
}

/// One client on one connection.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
}

impl Session {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { wire: Wire::connect(address).await? })
    }

    /// Where it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.wire.address()
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.wire.header(name)
    }

    /// Pushes a blob. The status is that of the last request, or of the first that was refused.
    pub async fn push(&mut self, repository: &str, content: &Content, manner: Manner) -> io::Result<u16> {
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let digest = content.digest.to_string();
        if manner == Manner::AtOnce {
            let target = with_parameter(&uploads, "digest", &digest);
            return self.send("POST", &target, &[OCTETS], &content.bytes).await;
        }
        let status = self.send("POST", &uploads, &[], b"").await?;
        if status != 202 {
            return Ok(status);
        }
        let mut upload = self.location()?;
        let (patches, last) = parts(&content.bytes, manner);
        let mut offset = 0;
        for part in patches {
            let range = format!("{offset}-{}", (offset + part.len()).saturating_sub(1));
            let ranged = [OCTETS, ("content-range", &range)];
            let headers = if manner == Manner::Chunks { &ranged[..] } else { &ranged[..1] };
            let status = self.send("PATCH", &upload, headers, part).await?;
            if status != 202 {
                return Ok(status);
            }
            upload = self.location()?;
            offset += part.len();
        }
        self.send("PUT", &with_parameter(&upload, "digest", &digest), &[OCTETS], last).await
    }

    /// Asks for a blob of another repository: 201 mounted, 202 an upload was opened instead.
    pub async fn mount(&mut self, repository: &str, digest: &Digest, from: &str) -> io::Result<u16> {
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        self.send("POST", &target, &[], b"").await
    }

    /// Whether a blob is there, as clients ask before they push.
    pub async fn has_blob(&mut self, repository: &str, digest: &Digest) -> io::Result<u16> {
        let request = self.wire.request("HEAD", &format!("/v2/{repository}/blobs/{digest}"), &[], None);
        within(self.wire.exchange(&[&request])).await.map(|received| received.status)
    }

    /// Removes a blob from a repository.
    pub async fn delete_blob(&mut self, repository: &str, digest: &str) -> io::Result<u16> {
        self.send("DELETE", &format!("/v2/{repository}/blobs/{digest}"), &[], b"").await
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        content: &Content,
    ) -> io::Result<(u16, String)> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let bytes = &content.bytes;
        let head = self.wire.request("PUT", &target, &[("content-type", MANIFEST)], Some(bytes.len() as u64));
        let (received, body) = within(self.wire.fetch(&[&head, bytes])).await?;
        Ok((received.status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Deletes a tag, or a manifest by its digest.
    pub async fn delete_manifest(&mut self, repository: &str, reference: &str) -> io::Result<u16> {
        self.send("DELETE", &format!("/v2/{repository}/manifests/{reference}"), &[], b"").await
    }

    /// The bytes of a blob, with the status.
    pub async fn blob(&mut self, repository: &str, digest: &str) -> io::Result<(u16, Vec<u8>)> {
        self.get(&format!("/v2/{repository}/blobs/{digest}"), &[]).await
    }

    /// The bytes of a manifest, with the status.
    pub async fn manifest(&mut self, repository: &str, reference: &str) -> io::Result<(u16, Vec<u8>)> {
        self.get(&format!("/v2/{repository}/manifests/{reference}"), &[("accept", MANIFEST)]).await
    }

    /// The tags of a repository; as many as one page has.
    pub async fn tags(&mut self, repository: &str) -> io::Result<Vec<String>> {
        let page = self.document(&format!("/v2/{repository}/tags/list")).await?;
        Ok(texts(&page["tags"]))
    }

    /// The digests of what refers to a manifest; as many as one page has.
    pub async fn referrers(&mut self, repository: &str, digest: &Digest) -> io::Result<Vec<String>> {
        let index = self.document(&format!("/v2/{repository}/referrers/{digest}")).await?;
        let descriptors = index["manifests"].as_array().cloned().unwrap_or_default();
        Ok(descriptors.iter().filter_map(|found| found["digest"].as_str().map(str::to_owned)).collect())
    }

    /// POST of nothing to any path; of the operator's port, for example.
    pub async fn post(&mut self, target: &str) -> io::Result<(u16, Vec<u8>)> {
        let head = self.wire.request("POST", target, &[], Some(0));
        let (received, body) = within(self.wire.fetch(&[&head])).await?;
        Ok((received.status, body))
    }

    /// GET of any path.
    pub async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> io::Result<(u16, Vec<u8>)> {
        let request = self.wire.request("GET", target, headers, None);
        let (received, body) = within(self.wire.fetch(&[&request])).await?;
        Ok((received.status, body))
    }

    async fn document(&mut self, target: &str) -> io::Result<Value> {
        let (status, body) = self.get(target, &[]).await?;
        if status != 200 {
            return Err(io::Error::other(format!("GET {target} was answered {status}")));
        }
        serde_json::from_slice(&body).map_err(io::Error::other)
    }

    async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<u16> {
        let head = self.wire.request(method, target, headers, Some(body.len() as u64));
        within(self.wire.exchange(&[&head, body])).await.map(|received| received.status)
    }

    fn location(&self) -> io::Result<String> {
        let location = self.wire.header("location").map(|location| target(location).to_owned());
        location.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "an upload without Location"))
    }
}

/// What goes into PATCHes, and what into the PUT.
fn parts(bytes: &[u8], manner: Manner) -> (Vec<&[u8]>, &[u8]) {
    match manner {
        Manner::AtOnce | Manner::Put => (vec![], bytes),
        Manner::Stream => (vec![bytes], b""),
        // Thirds, so that the last part is seldom as long as the others. Ranges cannot name nothing.
        Manner::Chunks if bytes.len() < 3 => (vec![], bytes),
        Manner::Chunks => {
            let third = bytes.len() / 3;
            (vec![&bytes[..third], &bytes[third..2 * third]], &bytes[2 * third..])
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

async fn within<T>(answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole() {
        for len in [0, 1, 2, 3, 4, 100, 101] {
            let bytes: Vec<u8> = (0..len).collect();
            for manner in Manner::ALL {
                let (patches, last) = parts(&bytes, manner);
                assert_eq!([patches.concat(), last.to_vec()].concat(), bytes, "{manner:?}");
                assert!(manner == Manner::Stream || patches.iter().all(|part| !part.is_empty()));
            }
        }
    }
}
