//! The commands of the operator's guide, run as they stand there.

use std::process::Command;

use shoal_oci::Digest;

use crate::documents::{bytes, image};
use crate::talk::Talk;

/// The guide for clients.
const GUIDE: &str = include_str!("../../../../docs/operations/clients.md");

/// The commands of a section, one for each line that begins with `$`.
fn commands(heading: &str) -> Vec<&'static str> {
    let (_, rest) = GUIDE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    section.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_tag_updates_work_as_documented() {
    let talk = Talk::start().await;
    talk.push("team/app", "{}").await;
    talk.push("team/app", "layer").await;
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (bytes(&image(&[])), bytes(&image(&[b"layer"])));
    std::fs::write(directory.path().join("one.json"), &one).unwrap();
    std::fs::write(directory.path().join("two.json"), &two).unwrap();
    let script = commands("Atomic tag updates").join("\n");
    let script = script.replace("https://registry.example.com", &format!("http://{}", talk.served.address));
    let mut command = Command::new("bash");
    command.args(["-euc", &script]).current_dir(directory.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{shown}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "412\n");
    let reply = talk.head("/v2/team/app/manifests/stable").await;
    assert_eq!(reply.expect(200).header("docker-content-digest"), Digest::sha256(&two).to_string());
}
