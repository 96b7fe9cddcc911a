//! A full disk: pushes are refused in the words of the protocol, pulls go on, and room that comes back is used without a restart.

use anyhow::{Context, Result, ensure};
use shoal_e2e::Node;
use shoal_e2e::disk::{SmallDisk, ballast};
use shoal_e2e::drill::session::Session;
use shoal_e2e::drill::{Content, Manner};
use shoal_e2e::programs::{self, Place};

const REPOSITORY: &str = "team/app";
const MIB: usize = 1024 * 1024;
/// Room that comes back: more than the metadata's log takes of the reserve while manifests are put into a full disk.
const BALLAST_MIB: usize = 28;
/// More pushes than any of the disks has room for.
const PUSHES_MAX: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: mounts a small disk; run by cargo xtask test --tier e2e"]
async fn a_disk_without_any_room_refuses_pushes_and_keeps_pulls() -> Result<()> {
    fill_and_free(&SmallDisk::tmpfs(80)?, "0").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: mounts a small disk; run by cargo xtask test --tier e2e"]
async fn room_that_has_to_stay_free_refuses_pushes_and_keeps_pulls() -> Result<()> {
    fill_and_free(&SmallDisk::ext4(112)?, "16MiB").await
}

async fn fill_and_free(disk: &SmallDisk, free_min: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let place = Place::loopback(scratch.path().to_owned())
        .with("data_directory", &disk.path().join("data").display().to_string())
        .with("store.free_min", free_min);
    let weight = ballast(&disk.path(), BALLAST_MIB)?;
    let mut server = Node::server(&programs::bin_dir()?, place)?;
    let mut session = Session::connect(server.listener("registry")?).await?;
    let mut kept = vec![Content::random(1, 2 * MIB), Content::random(2, 4096)];
    for blob in &kept {
        let status = session.push(REPOSITORY, blob, Manner::Put).await?;
        ensure!(status == 201, "the empty disk answered {status}");
    }
    let manifest = Content::manifest(1, &kept[1], &kept[0], None);
    let (status, words) = session.put_manifest(REPOSITORY, "v1", &manifest).await?;
    ensure!(status == 201, "{status}: {words}");

    // Large ones until there is no room, then small ones, then manifests into what is left.
    fill(&mut session, 3 * MIB, &mut kept).await.context("blobs of 3 MiB")?;
    fill(&mut session, 100_000, &mut kept).await.context("blobs of 100 kB")?;
    fill(&mut session, 4096, &mut kept).await.context("blobs of 4 KiB")?;
    refuse_or_take_manifests(&mut session, &kept).await?;

    compare(&mut session, &kept, &manifest).await.context("while the disk is full")?;
    ensure!(server.process().is_running(), "the server died\n{}", server.process().log_tail());
    std::fs::remove_file(weight)?;
    let again = Content::random(3, 3 * MIB);
    let status = session.push(REPOSITORY, &again, Manner::Stream).await?;
    ensure!(status == 201, "with room again, a push was answered {status}\n{}", server.process().log_tail());
    kept.push(again);
    let (status, words) = session.put_manifest(REPOSITORY, "v2", &manifest).await?;
    ensure!(status == 201, "with room again, a manifest was answered {status}: {words}");
    compare(&mut session, &kept, &manifest).await.context("with room again")?;
    // And what is on the disk opens again.
    ensure!(server.stop(), "the server did not end by itself");
    server.restart()?;
    let mut session = Session::connect(server.listener("registry")?).await?;
    compare(&mut session, &kept, &manifest).await.context("after a restart")
}

/// Pushes until the first refusal, which has to be the one for a full disk. What is taken is kept.
async fn fill(session: &mut Session, size: usize, kept: &mut Vec<Content>) -> Result<()> {
    for number in 0..PUSHES_MAX {
        let manner = Manner::ALL[usize::try_from(number)? % Manner::ALL.len()];
        let blob = Content::random(number * 1_000_003 + size as u64, size);
        let status = session.push(REPOSITORY, &blob, manner).await?;
        if status == 201 {
            kept.push(blob);
            continue;
        }
        ensure!(status == 503, "{manner:?} was answered {status} after {number} pushes, and not 503");
        let later = session.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        ensure!(later.is_some_and(|seconds| seconds > 0), "no Retry-After: {later:?}");
        // The refused blob is not there by half. A refused body may have ended the connection.
        *session = Session::connect(session.address()).await?;
        let (status, _) = session.blob(REPOSITORY, &blob.digest.to_string()).await?;
        ensure!(status == 404, "a refused blob is answered {status}");
        return Ok(());
    }
    anyhow::bail!("the disk has room for {PUSHES_MAX} blobs of {size} bytes")
}

/// A full disk may take a manifest or refuse it, but only in the words for a full disk.
async fn refuse_or_take_manifests(session: &mut Session, kept: &[Content]) -> Result<()> {
    for number in 0..300 {
        let manifest = Content::manifest(1000 + number, &kept[1], &kept[0], None);
        let (status, words) = session.put_manifest(REPOSITORY, &format!("t{number}"), &manifest).await?;
        ensure!(matches!(status, 201 | 503), "manifest {number} was answered {status}: {words}");
        if status == 503 {
            return Ok(());
        }
    }
    Ok(())
}

/// Everything that was acknowledged is there, byte for byte.
async fn compare(session: &mut Session, kept: &[Content], manifest: &Content) -> Result<()> {
    for blob in kept {
        let (status, bytes) = session.blob(REPOSITORY, &blob.digest.to_string()).await?;
        ensure!(status == 200 && bytes == blob.bytes, "{} is answered {status}", blob.digest);
    }
    let (status, bytes) = session.manifest(REPOSITORY, "v1").await?;
    ensure!(status == 200 && bytes == manifest.bytes, "the manifest is answered {status}");
    Ok(())
}
