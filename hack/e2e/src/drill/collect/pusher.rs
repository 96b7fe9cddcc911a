//! One client of the collection drill: pushes images of shared and own blobs, mounts, deletes, and reads what it has tagged.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use shoal_oci::Digest;

use super::{GRACE, Shared, note};
use crate::drill::content::{Content, small_size};
use crate::drill::session::{Manner, Session};

/// Two repositories, so that links and contents are collected separately.
const REPOSITORIES: [&str; 2] = ["soak/one", "soak/two"];
/// Contents that all clients use: few enough that each is unwanted and wanted again all the time.
const SHARED: u64 = 40;
/// Images that a client keeps.
const IMAGES_MAX: usize = 12;
/// Sizes of blobs that are files of their own.
const LARGE: std::ops::Range<usize> = 70_000..600_000;

/// A tagged manifest with its blobs.
struct Image {
    repository: &'static str,
    tag: String,
    digest: Digest,
    blobs: Vec<Digest>,
}

/// A client.
pub(super) struct Pusher {
    number: u64,
    rng: fastrand::Rng,
    shared: Shared,
    images: Vec<Image>,
    count: u64,
}

impl Pusher {
    pub(super) fn new(number: u64, seed: u64, shared: Shared) -> Self {
        Self { number, rng: fastrand::Rng::with_seed(seed), shared, images: Vec::new(), count: 0 }
    }

    /// Works until the time is over.
    pub(super) async fn work(mut self, address: SocketAddr, deadline: Instant) -> Result<Self> {
        let mut session = Session::connect(address).await?;
        while Instant::now() < deadline {
            match self.rng.u8(..100) {
                0..50 => self.push_image(&mut session).await?,
                50..65 => self.mount_image(&mut session).await?,
                65..85 => self.compare_one(&mut session).await?,
                _ => self.delete(&mut session).await?,
            }
            if self.images.len() > IMAGES_MAX {
                self.delete(&mut session).await?;
            }
        }
        Ok(self)
    }

    /// Two blobs and a manifest, as a runtime pushes: ask first, push what is missing.
    async fn push_image(&mut self, session: &mut Session) -> io::Result<()> {
        let repository = REPOSITORIES[self.rng.usize(..REPOSITORIES.len())];
        let began = Instant::now();
        let config = self.content();
        let layer = self.content();
        for blob in [&config, &layer] {
            if !self.offer(session, repository, blob).await? {
                return Ok(());
            }
        }
        self.tag(session, repository, &config, &layer, began).await
    }

    /// Makes sure that a blob is there; `false`: it was refused.
    async fn offer(&mut self, session: &mut Session, repository: &str, blob: &Content) -> io::Result<bool> {
        if session.has_blob(repository, &blob.digest).await? == 200 {
            note(&self.shared, |summary| summary.found += 1);
            return Ok(true);
        }
        let manner = Manner::ALL[self.rng.usize(..Manner::ALL.len())];
        let status = session.push(repository, blob, manner).await?;
        note(&self.shared, |summary| {
            if status == 201 {
                summary.blobs += 1;
                summary.bytes += blob.bytes.len() as u64;
            } else {
                summary.faults.push(format!("{manner:?} of {} was answered {status}", blob.digest));
            }
        });
        Ok(status == 201)
    }

    /// Puts the manifest; everything it names was told to be there since `began`.
    async fn tag(
        &mut self,
        session: &mut Session,
        repository: &'static str,
        config: &Content,
        layer: &Content,
        began: Instant,
    ) -> io::Result<()> {
        self.count += 1;
        let manifest = Content::manifest(self.number << 40 | self.count, config, layer, None);
        let tag = format!("p{}-{}", self.number, self.count);
        let (status, words) = session.put_manifest(repository, &tag, &manifest).await?;
        let age = began.elapsed();
        note(&self.shared, |summary| {
            match status {
            201 => summary.manifests += 1,
            400 | 404 if age >= GRACE => summary.late += 1,
            _ => summary.faults.push(format!(
                "{repository}:{tag} was answered {status} {age:?} after its blobs were told to be there: {words}"
            )),
        }
        });
        if status == 201 {
            let blobs = vec![config.digest, layer.digest];
            self.images.push(Image { repository, tag, digest: manifest.digest, blobs });
        }
        Ok(())
    }

    /// The blobs of an image into the other repository, and a manifest there.
    async fn mount_image(&mut self, session: &mut Session) -> io::Result<()> {
        let Some(image) = self.rng.choice(&self.images) else { return Ok(()) };
        let [one, other] = REPOSITORIES;
        let (from, repository) = (image.repository, if image.repository == one { other } else { one });
        let (began, blobs) = (Instant::now(), image.blobs.clone());
        let mut contents = Vec::new();
        for digest in &blobs {
            let status = session.mount(repository, digest, from).await?;
            if status != 201 {
                let fault =
                    format!("mount of {digest} from {from}, where it is tagged, was answered {status}");
                note(&self.shared, |summary| summary.faults.push(fault));
                return Ok(());
            }
            note(&self.shared, |summary| summary.mounts += 1);
            // A manifest names sizes.
            let (_, bytes) = session.blob(repository, &digest.to_string()).await?;
            contents.push(Content { digest: *digest, bytes });
        }
        self.tag(session, repository, &contents[0], &contents[1], began).await
    }

    /// Takes an image away: its tag first or its manifest with all tags, and what is left of it.
    async fn delete(&mut self, session: &mut Session) -> io::Result<()> {
        if self.images.is_empty() {
            return Ok(());
        }
        let image = self.images.swap_remove(self.rng.usize(..self.images.len()));
        let digest = image.digest.to_string();
        let references = if self.rng.bool() { vec![image.tag, digest] } else { vec![digest] };
        for reference in references {
            let status = session.delete_manifest(image.repository, &reference).await?;
            note(&self.shared, |summary| match status {
                202 => summary.deletions += 1,
                _ => summary.faults.push(format!("DELETE of manifest {reference} was answered {status}")),
            });
        }
        Ok(())
    }

    async fn compare_one(&mut self, session: &mut Session) -> io::Result<()> {
        let Some(image) = self.rng.choice(&self.images) else { return Ok(()) };
        compare(session, image, &self.shared).await
    }

    /// Reads everything that is tagged.
    pub(super) async fn compare_all(&mut self, address: SocketAddr) -> Result<()> {
        let mut session = Session::connect(address).await?;
        for image in &self.images {
            compare(&mut session, image, &self.shared).await?;
        }
        Ok(())
    }

    /// Three in four are shared.
    fn content(&mut self) -> Content {
        let (seed, is_shared) = match self.rng.u8(..) {
            0..64 => (self.rng.u64(..), false),
            _ => (self.rng.u64(..SHARED), true),
        };
        // The size of a shared content follows from its seed.
        let mut sizes = if is_shared { fastrand::Rng::with_seed(seed) } else { self.rng.fork() };
        let size = if sizes.u8(..) < 200 { small_size(&mut sizes) } else { sizes.usize(LARGE) };
        Content::random(seed, size)
    }
}

/// The manifest behind the tag, and all of its blobs, byte for byte.
async fn compare(session: &mut Session, image: &Image, shared: &Shared) -> io::Result<()> {
    let (status, bytes) = session.manifest(image.repository, &image.tag).await?;
    let mut faults = Vec::new();
    if status != 200 || Digest::sha256(&bytes) != image.digest {
        faults.push(format!("{}:{} is answered {status}", image.repository, image.tag));
    }
    for digest in &image.blobs {
        let (status, bytes) = session.blob(image.repository, &digest.to_string()).await?;
        if status != 200 || Digest::sha256(&bytes) != *digest {
            let len = bytes.len();
            faults.push(format!(
                "{digest} of {}:{} is answered {status} with {len} bytes",
                image.repository, image.tag
            ));
        }
    }
    note(shared, |summary| {
        summary.read += image.blobs.len() as u64;
        summary.faults.extend(faults);
    });
    Ok(())
}
