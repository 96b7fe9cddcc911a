//! `shoal-agent hosts` on a machine with containerd, Docker and podman: wired, proven by pulls, and taken back to the byte.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_e2e::process::Program;
use shoal_e2e::{Cluster, Machine, fixture, programs, skopeo, tool};

/// What the runtimes read.
const FILES: &str = "/etc/containerd /etc/docker /etc/containers";
/// On the cluster; with no upstream configured, Docker Hub's names mean the cluster's own repositories.
const CANARY: &str = "docker.io/library/canary:v1";
const PAGE: &str = include_str!("../../../docs/operations/runtimes.md");

/// A cluster that has the canary.
fn cluster() -> Result<Cluster> {
    let cluster = Cluster::start(2)?;
    let image = cluster.directory().join("image");
    fixture::runnable(&image, vec![300_000], "canary")?;
    let target = format!("docker://{}/library/canary:v1", cluster.server.listener("registry")?);
    skopeo::copy(&skopeo::layout(&image, fixture::TAG), &target, false)?;
    Ok(cluster)
}

/// A machine with daemons that an operator has started.
fn machine() -> Result<Machine> {
    let mut machine = Machine::start()?;
    machine.start_containerd()?;
    machine.start_docker()?;
    // Whatever podman makes at its first call is there before anything is compared.
    machine.shell("podman info > /dev/null")?;
    Ok(machine)
}

/// `shoal-agent hosts WORDS` on a machine: whether it succeeded, and both outputs.
fn hosts(machine: &Machine, words: &[&str]) -> Result<(bool, String, String)> {
    let program =
        Program::new(programs::bin_dir()?.canonicalize()?.join("shoal-agent")).arg("hosts").args(words);
    let output = tool::output(machine.program(program))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.success(), text(output.stdout), text(output.stderr)))
}

/// Flags that say where an agent is.
fn at(mirror: SocketAddr, admin: SocketAddr) -> [String; 4] {
    ["--agent".into(), mirror.to_string(), "--admin".into(), admin.to_string()]
}

fn verdicts(json: &str) -> Result<Vec<(String, String, String)>> {
    let value: Value = serde_json::from_str(json)?;
    let proofs = value["proofs"].as_array().context("no proofs")?;
    let text = |proof: &Value, key: &str| proof[key].as_str().unwrap_or_default().to_owned();
    Ok(proofs
        .iter()
        .map(|proof| (text(proof, "runtime"), text(proof, "verdict"), text(proof, "detail")))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd, docker and podman; run by cargo xtask test --tier e2e"]
async fn runtimes_are_wired_proven_by_pulls_and_taken_back_to_the_byte() -> Result<()> {
    let mut cluster = cluster()?;
    let machine = machine()?;
    let before = machine.inventory(FILES)?;
    let agent = &cluster.agents[0];
    let place = at(agent.listener("registry")?, agent.listener("admin")?);
    let [agent_flag, mirror, admin_flag, admin] = place.each_ref().map(String::as_str);
    let apply = ["apply", "--prove", "canary:v1", "--output", "json", agent_flag, mirror, admin_flag, admin];

    let (is_good, json, complaint) = hosts(&machine, &apply)?;
    ensure!(is_good, "{complaint}");
    let proofs = verdicts(&json)?;
    let proven: Vec<_> =
        proofs.iter().filter(|(_, verdict, _)| verdict == "proven").map(|(name, ..)| name.as_str()).collect();
    ensure!(proven == ["containerd", "docker", "podman"], "{proofs:?}");
    // The operator's settings are still there, and containerd takes its own.
    let daemon = std::fs::read_to_string(machine.path("/etc/docker/daemon.json"))?;
    ensure!(daemon.contains("\n\t\"bridge\": \"none\",") && daemon.contains(mirror), "{daemon}");
    let dump = machine.shell("containerd config dump")?;
    ensure!(dump.contains("config_path = \"/etc/containerd/certs.d\""), "{dump}");
    // The canary is gone again.
    ensure!(
        machine
            .shell("docker images -q; podman images -q; ctr namespaces list -q")?
            .split_whitespace()
            .all(|word| word == "moby")
    );

    let (is_good, text, _) = hosts(&machine, &["diff", agent_flag, mirror])?;
    ensure!(is_good && text.starts_with("nothing to do"), "{text}");

    // Without the agent, containerd pulls from the registry itself, which is on this machine.
    let registry = cluster.server.listener("registry")?;
    cluster.agents[0].kill();
    let fetch = format!(
        "ctr --namespace away content fetch --hosts-dir /etc/containerd/certs.d {registry}/library/canary:v1"
    );
    machine.shell(&fetch)?;

    let (is_good, text, complaint) = hosts(&machine, &["restore"])?;
    ensure!(is_good, "{text}{complaint}");
    let after = machine.inventory(FILES)?;
    ensure!(after == before, "--- before\n{before}\n--- after\n{after}");
    ensure!(!machine.path("/var/lib/shoal/hosts").exists(), "the record is still there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd, docker and podman; run by cargo xtask test --tier e2e"]
async fn what_was_not_proven_is_taken_back() -> Result<()> {
    let cluster = cluster()?;
    let machine = machine()?;
    let before = machine.inventory(FILES)?;
    // Pulls go through one agent, and another one is asked.
    let place = at(cluster.agents[0].listener("registry")?, cluster.agents[1].listener("admin")?);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let (is_good, text, complaint) = hosts(&machine, &[&["apply", "--prove", CANARY][..], &place].concat())?;
    ensure!(!is_good, "{text}");
    for runtime in ["containerd", "docker", "podman"] {
        ensure!(
            complaint.contains(&format!("{runtime}: the image came, but not through the agent")),
            "{complaint}"
        );
    }
    ensure!(complaint.contains("Everything was taken back"), "{complaint}");
    ensure!(machine.inventory(FILES)? == before);

    // An admin port that nobody listens on: nothing is touched.
    let mirror = cluster.agents[0].listener("registry")?.to_string();
    let words = ["apply", "--prove", CANARY, "--agent", &mirror, "--admin", "127.0.0.1:1"];
    let (is_good, _, complaint) = hosts(&machine, &words)?;
    ensure!(!is_good && complaint.contains("nothing was changed"), "{complaint}");
    ensure!(machine.inventory(FILES)? == before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd, docker and podman; run by cargo xtask test --tier e2e"]
async fn killed_at_any_moment_it_can_be_taken_back() -> Result<()> {
    let machine = Machine::start()?;
    let before = machine.inventory(FILES)?;
    let program = Program::new(programs::bin_dir()?.canonicalize()?.join("shoal-agent"));
    let apply = machine.program(program.args(["hosts", "apply", "--no-prove"]));
    for round in 0..12_u64 {
        let mut child = apply.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(round * 25));
        let _ = child.kill();
        let _ = child.wait();
        let (is_good, text, complaint) = hosts(&machine, &["restore"])?;
        ensure!(is_good, "{round}: {text}{complaint}");
        let after = machine.inventory(FILES)?;
        ensure!(after == before, "{round}: --- before\n{before}\n--- after\n{after}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, containerd, docker and podman; run by cargo xtask test --tier e2e"]
async fn the_commands_of_the_page_do_what_it_says() -> Result<()> {
    let cluster = cluster()?;
    let machine = machine()?;
    let before = machine.inventory(FILES)?;
    let agent = &cluster.agents[0];
    let head = format!(
        "export PATH={}:$PATH SHOAL_REGISTRY__LISTEN={} SHOAL_ADMIN__LISTEN={}\n",
        programs::bin_dir()?.canonicalize()?.display(),
        agent.listener("registry")?,
        agent.listener("admin")?,
    );
    let (_, first) = PAGE.split_once("\n## The commands\n").context("no section `The commands`")?;
    let section = first.split("\n## ").next().unwrap_or(first);
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    ensure!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let command = command.split("   #").next().unwrap_or(command).replace("busybox:1.36", "canary:v1");
        // A status of 1 is what `diff` says when there is something to do.
        let allowed = if command.contains(" diff") { " || test $? -eq 1" } else { "" };
        machine.shell(&format!("{head}{command}{allowed}"))?;
    }
    ensure!(machine.inventory(FILES)? == before, "the last command of the page puts everything back");
    Ok(())
}
