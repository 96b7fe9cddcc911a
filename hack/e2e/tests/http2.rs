//! curl speaks HTTP/2 to the registry: chosen by ALPN over TLS, and by prior knowledge without it. Push, pull and errors.

use std::path::Path;

use anyhow::{Result, ensure};
use shoal_e2e::programs::{self, Place};
use shoal_e2e::shoalctl::Authority;
use shoal_e2e::{Curl, Node};
use shoal_oci::Digest;

/// More than one HTTP/2 window, so that flow control has something to do.
const BLOB_LEN: usize = 3 * 1024 * 1024;

/// A registry, and how curl is told to speak to it.
struct Door<'test> {
    base: String,
    words: Vec<String>,
    directory: &'test Path,
}

impl Door<'_> {
    fn curl(&self, path: &str, words: &[&str]) -> Result<shoal_e2e::curl::Answer> {
        let own: Vec<_> = self.words.iter().map(String::as_str).collect();
        let answer = Curl::new(&format!("{}{path}", self.base))?.with(&own).with(words).send()?;
        ensure!(answer.version == "2", "{path}: {answer:?}");
        Ok(answer)
    }

    fn expect(&self, status: u16, path: &str, words: &[&str]) -> Result<shoal_e2e::curl::Answer> {
        let answer = self.curl(path, words)?;
        ensure!(
            answer.status == status,
            "{path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer)
    }

    /// Pushes a blob as docker does: POST, one PATCH of unknown length, PUT.
    fn push(&self, bytes: &[u8]) -> Result<Digest> {
        let file = self.directory.join("blob");
        std::fs::write(&file, bytes)?;
        let data = format!("@{}", file.display());
        let digest = Digest::sha256(bytes);
        let upload = self.expect(202, "/v2/team/app/blobs/uploads/", &["--request", "POST"])?.location;
        let body =
            ["--request", "PATCH", "--header", "Content-Type: application/octet-stream", "--data-binary"];
        let upload = self.expect(202, &upload, &[&body[..], &[&data]].concat())?.location;
        let separator = if upload.contains('?') { '&' } else { '?' };
        self.expect(201, &format!("{upload}{separator}digest={digest}"), &["--request", "PUT"])?;
        Ok(digest)
    }
}

fn push_and_pull(door: &Door<'_>) -> Result<()> {
    let mut bytes = vec![0; BLOB_LEN];
    fastrand::Rng::with_seed(5).fill(&mut bytes);
    let (config, layer) = (door.push(b"{}")?, door.push(&bytes)?);
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config}\",\"size\":2}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{layer}\",\"size\":{BLOB_LEN}}}]}}"
    );
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    let put = ["--request", "PUT", "--header", kind, "--data-binary", &manifest];
    door.expect(201, "/v2/team/app/manifests/v1", &put)?;
    let got = door.expect(200, "/v2/team/app/manifests/v1", &[])?;
    ensure!(got.body == manifest.as_bytes(), "another manifest");
    let blob = format!("/v2/team/app/blobs/{layer}");
    ensure!(door.expect(200, &blob, &[])?.body == bytes, "other bytes");
    let range = door.expect(206, &blob, &["--range", "1000000-1999999"])?;
    ensure!(range.body == bytes[1_000_000..2_000_000], "other bytes in a range");
    door.expect(200, &blob, &["--head"])?;
    let missing = door.expect(404, "/v2/team/app/manifests/absent", &[])?;
    ensure!(missing.body.starts_with(b"{\"errors\":"), "{missing:?}");
    // A second answer on the same connection, and a refusal of a body that is not read.
    door.expect(
        404,
        "/v2/team/absent/blobs/uploads/nothing",
        &["--request", "PATCH", "--data-binary", &manifest],
    )?;
    Ok(())
}

#[test]
#[ignore = "e2e: needs curl; run by cargo xtask test --tier e2e"]
fn curl_pushes_and_pulls_by_http2_over_tls() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-http2-").tempdir()?;
    let files = Authority::new(directory.path())?.issue("server-1", "server", &["127.0.0.1", "localhost"])?;
    let tls = format!("{{certificate: {}, key: {}}}", files.certificate.display(), files.key.display());
    let place = Place::loopback(directory.path().join("server")).with("registry.tls", &tls);
    let server = Node::server(&programs::bin_dir()?, place)?;
    let address = server.listener("registry")?;
    let words = ["--http2", "--cacert", &files.ca.display().to_string()].map(str::to_owned).to_vec();
    push_and_pull(&Door { base: format!("https://{address}"), words, directory: directory.path() })?;
    // The same port speaks HTTP/1.1 to those who want that, and says so to those who forgot TLS.
    let url = format!("https://localhost:{}/v2/", address.port());
    let old = Curl::new(&url)?.trusting(&files.ca).with(&["--http1.1"]).send()?;
    ensure!((old.status, old.version.as_str()) == (200, "1.1"), "{old:?}");
    let plain = Curl::new(&format!("http://{address}/v2/"))?.send()?;
    ensure!(matches!(plain.status, 0 | 400), "{plain:?}");
    Ok(())
}

#[test]
#[ignore = "e2e: needs curl; run by cargo xtask test --tier e2e"]
fn curl_pushes_and_pulls_by_http2_with_prior_knowledge() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-http2-").tempdir()?;
    let server = Node::server(&programs::bin_dir()?, Place::loopback(directory.path().join("server")))?;
    let base = format!("http://{}", server.listener("registry")?);
    let words = vec!["--http2-prior-knowledge".to_owned()];
    push_and_pull(&Door { base, words, directory: directory.path() })
}
