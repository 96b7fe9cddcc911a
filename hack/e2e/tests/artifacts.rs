//! Artifacts, charts, signatures and SBOMs: what oras, helm, cosign, crane and regctl send, in their order, against the real server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shoal_e2e::artifact::{Artifacts, MANIFEST};
use shoal_e2e::{Cluster, fixture};
use shoal_oci::Digest;
use shoal_test_images::ImageSpec;

const SBOM: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// A cluster with an image `team/app:v1`, a client of its repository, and the image's descriptor.
async fn with_image(agents: usize) -> Result<(Cluster, Artifacts, Value)> {
    let cluster = Cluster::start(agents)?;
    let (layout, image) =
        fixture::made(&cluster.directory().join("image"), &ImageSpec::new(vec![70_000], 1))?;
    cluster.server.registry()?.push("team/app", "v1", &layout, &image, &|_| {}).await?;
    let mut client = Artifacts::connect(cluster.server.listener("registry")?, "team/app").await?;
    let (status, _) = client.ask("HEAD", "manifests/v1", &[("accept", MANIFEST)], None).await?;
    ensure!(status == 200, "HEAD of the image: {status}");
    let header = |name: &str| client.header(name).map(str::to_owned).context("a header is missing");
    let size: u64 = header("content-length")?.parse()?;
    let subject = json!({"mediaType": header("content-type")?, "digest": header("docker-content-digest")?, "size": size});
    Ok((cluster, client, subject))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs the programs; run by cargo xtask test --tier e2e"]
async fn artifacts_attach_are_listed_by_type_and_are_gone_when_deleted() -> Result<()> {
    let (_cluster, mut client, subject) = with_image(0).await?;
    ensure!(client.referrers(&subject, None).await?.is_empty(), "something refers to a new image");
    let sbom = client.attach(SBOM, (SBOM, b"{\"spdxVersion\":\"SPDX-2.3\"}"), Some(&subject), None).await?;
    ensure!(client.header("oci-subject") == subject["digest"].as_str(), "no OCI-Subject");
    let signature =
        client.attach(SIGNATURE, ("application/octet-stream", b"signed"), Some(&subject), None).await?;

    let listed = client.referrers(&subject, None).await?;
    ensure!(listed.len() == 2, "{listed:?}");
    for (kind, descriptor) in [(SBOM, &sbom), (SIGNATURE, &signature)] {
        let found = client.referrers(&subject, Some(kind)).await?;
        ensure!(found.len() == 1 && found[0]["digest"] == descriptor["digest"], "{kind}: {found:?}");
        ensure!(found[0]["artifactType"] == kind && found[0]["size"] == descriptor["size"], "{found:?}");
        ensure!(found[0]["annotations"]["of"] == kind, "{found:?}");
    }
    ensure!(
        client.referrers(&subject, Some("application/absent")).await?.is_empty(),
        "a type that nobody has"
    );

    // As `oras manifest delete` does. The layer stays until it is collected; the list changes at once.
    let path = format!("manifests/{}", sbom["digest"].as_str().context("no digest")?);
    client.expect(202, "DELETE", &path, &[], None).await?;
    let left = client.referrers(&subject, None).await?;
    ensure!(left.len() == 1 && left[0]["digest"] == signature["digest"], "{left:?}");
    ensure!(client.referrers(&subject, Some(SBOM)).await?.is_empty(), "deleted and still listed");
    client.expect(404, "GET", &path, &[], None).await?;
    // The image itself goes, and what is about it can still be found and removed.
    client
        .expect(
            202,
            "DELETE",
            &format!("manifests/{}", subject["digest"].as_str().unwrap_or_default()),
            &[],
            None,
        )
        .await?;
    ensure!(client.referrers(&subject, None).await?.len() == 1, "a signature went with its subject");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs the programs; run by cargo xtask test --tier e2e"]
async fn a_signature_under_its_tag_is_found_also_through_an_agent() -> Result<()> {
    let (cluster, mut client, subject) = with_image(1).await?;
    let hex = subject["digest"].as_str().context("no digest")?.replace(':', "-");
    let tag = format!("{hex}.sig");
    client.expect(404, "GET", &format!("manifests/{tag}"), &[("accept", MANIFEST)], None).await?;
    let payload = json!({"critical": {"image": {"docker-manifest-digest": subject["digest"]}}}).to_string();
    let config = br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]},"config":{}}"#;
    let config_digest = client.push_stream(config, "team/app").await?;
    let mut layers = Vec::new();
    // A second signer reads the manifest and puts it again with one layer more.
    for signer in ["first", "second"] {
        let bytes = format!("{payload}{signer}").into_bytes();
        let digest = client.push_stream(&bytes, "team/app").await?;
        layers.push(json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest.to_string(), "size": bytes.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signer},
        }));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest.to_string(), "size": config.len()},
        });
        client.put(&manifest, Some(&tag)).await?;
    }
    let mut agent = Artifacts::connect(cluster.agents[0].listener("registry")?, "team/app").await?;
    for client in [&mut client, &mut agent] {
        let bytes =
            client.expect(200, "GET", &format!("manifests/{tag}"), &[("accept", MANIFEST)], None).await?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        ensure!(manifest["layers"].as_array().map(Vec::len) == Some(2), "{manifest}");
        let layer = manifest["layers"][1]["digest"].as_str().context("no digest")?.to_owned();
        let bytes = client.expect(200, "GET", &format!("blobs/{layer}"), &[], None).await?;
        ensure!(
            bytes.ends_with(b"second") && Digest::sha256(&bytes).to_string() == layer,
            "another signature"
        );
    }
    // `cosign clean`.
    client.expect(202, "DELETE", &format!("manifests/{tag}"), &[], None).await?;
    client.expect(404, "GET", &format!("manifests/{tag}"), &[], None).await?;
    client.expect(200, "GET", "manifests/v1", &[], None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs the programs; run by cargo xtask test --tier e2e"]
async fn a_chart_is_pushed_as_helm_does_and_pulled_through_an_agent() -> Result<()> {
    let cluster = Cluster::start(1)?;
    let mut client = Artifacts::connect(cluster.server.listener("registry")?, "charts/app").await?;
    let (config, chart) = (br#"{"name":"app","version":"1.0.0","apiVersion":"v2"}"#, vec![0x1f; 30_000]);
    let digests = [client.push_whole(&chart).await?, client.push_whole(config).await?];
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digests[1].to_string(), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digests[0].to_string(), "size": chart.len()}],
        "annotations": {"org.opencontainers.image.title": "app", "org.opencontainers.image.version": "1.0.0"},
    });
    // A version with build metadata has its + replaced, since tags have none.
    for tag in ["1.0.0", "1.0.0_build.1"] {
        client.put(&manifest, Some(tag)).await?;
    }
    let tags: Value =
        serde_json::from_slice(&client.expect(200, "GET", "tags/list?n=1000", &[], None).await?)?;
    ensure!(tags["tags"] == json!(["1.0.0", "1.0.0_build.1"]), "{tags}");
    let mut agent = Artifacts::connect(cluster.agents[0].listener("registry")?, "charts/app").await?;
    let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                  application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.oci.artifact.manifest.v1+json";
    let got = agent.expect(200, "GET", "manifests/1.0.0", &[("accept", accept)], None).await?;
    ensure!(serde_json::from_slice::<Value>(&got)? == manifest, "another manifest");
    for (digest, bytes) in [(digests[0], &chart[..]), (digests[1], &config[..])] {
        ensure!(agent.expect(200, "GET", &format!("blobs/{digest}"), &[], None).await? == bytes, "{digest}");
    }
    // In another repository the layers are mounted, as `helm push` of a promoted chart and `crane copy` ask for.
    let mut other = Artifacts::connect(cluster.server.listener("registry")?, "charts/stable").await?;
    let ask = format!("blobs/uploads/?from=charts/app&mount={}&origin=registry.example.com", digests[0]);
    other.expect(201, "POST", &ask, &[], Some(b"")).await?;
    other.expect(200, "HEAD", &format!("blobs/{}", digests[0]), &[], None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs the programs; run by cargo xtask test --tier e2e"]
async fn chunks_out_of_order_are_refused_and_the_upload_goes_on_as_regctl_expects() -> Result<()> {
    let cluster = Cluster::start(0)?;
    let mut client = Artifacts::connect(cluster.server.listener("registry")?, "team/chunks").await?;
    let mut bytes = vec![0; 300_000];
    fastrand::Rng::with_seed(9).fill(&mut bytes);
    let digest = Digest::sha256(&bytes);
    client.expect(202, "POST", "blobs/uploads/", &[], Some(b"")).await?;
    let upload = client.location()?;
    ensure!(client.chunk(&upload, 0, &bytes[..100_000]).await? == 202, "the first chunk");
    ensure!(client.header("range") == Some("0-99999"), "Range: {:?}", client.header("range"));
    let upload = client.location()?;
    // The answer to a chunk was lost and it is sent again; then one is left out.
    ensure!(client.chunk(&upload, 0, &bytes[..100_000]).await? == 416, "a chunk sent twice");
    ensure!(client.chunk(&upload, 200_000, &bytes[200_000..]).await? == 416, "a chunk left out");
    // regctl asks where the upload is, and goes on there.
    client.expect(204, "GET", &upload, &[], None).await?;
    let range = client.header("range").context("no Range")?.to_owned();
    let next: usize = range.rsplit('-').next().unwrap_or_default().parse::<usize>()? + 1;
    ensure!(next == 100_000, "{range}");
    let upload = client.location()?;
    ensure!(client.chunk(&upload, next, &bytes[next..]).await? == 202, "the rest");
    let path = shoal_e2e::wire::with_parameter(&client.location()?, "digest", &digest.to_string());
    client.expect(201, "PUT", &path, &[], Some(b"")).await?;
    ensure!(client.expect(200, "GET", &format!("blobs/{digest}"), &[], None).await? == bytes, "other bytes");
    Ok(())
}
