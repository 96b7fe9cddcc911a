//! An OCI image layout on disk (image-spec "OCI Image Layout"): what skopeo, podman and buildah read as `oci:DIR:TAG`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shoal_oci::Digest;

use crate::document;
use crate::image::{self, Image};
use crate::media_type;
use crate::sink::Sink;
use crate::spec::{Format, ImageSpec};

/// A layout directory that images are added to.
pub struct Layout {
    root: PathBuf,
    started: u64,
}

/// A blob that is being written beside its final place.
pub struct Unfinished {
    path: PathBuf,
    file: File,
}

impl std::io::Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Layout {
    /// Opens the layout at `root`, or makes an empty one.
    pub fn open(root: &Path) -> Result<Self> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        let layout = Self { root: root.to_owned(), started: 0 };
        if !layout.index_path().exists() {
            layout.write_index(&[])?;
            fs::write(root.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
        }
        Ok(layout)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.to_hex())
    }

    /// Builds an image and names it `tag`; an image that had this name loses it.
    pub fn add(&mut self, spec: &ImageSpec, tag: &str) -> Result<Image> {
        let image = image::build(spec, self)?;
        let mut entry = document::descriptor(&image.root);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let mut entries = self.read_index()?;
        entries.retain(|old| old["annotations"] != entry["annotations"]);
        entries.push(entry);
        self.write_index(&entries)?;
        Ok(image)
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn read_index(&self) -> Result<Vec<Value>> {
        let path = self.index_path();
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut index: Value =
            serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        match index["manifests"].take() {
            Value::Array(entries) => Ok(entries),
            _ => anyhow::bail!("{} has no list of manifests", path.display()),
        }
    }

    fn write_index(&self, manifests: &[Value]) -> Result<()> {
        let media_type = media_type::index(Format::Oci);
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        fs::write(self.index_path(), index.to_string())?;
        Ok(())
    }
}

impl Sink for Layout {
    type Writer = Unfinished;

    fn begin(&mut self) -> Result<Unfinished> {
        self.started += 1;
        let path =
            self.root.join("blobs").join(format!(".unfinished-{}-{}", std::process::id(), self.started));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Unfinished { path, file })
    }

    fn finish(&mut self, writer: Unfinished, digest: &Digest) -> Result<()> {
        let place = self.blob_path(digest);
        fs::rename(&writer.path, &place).with_context(|| format!("cannot write {}", place.display()))
    }
}
