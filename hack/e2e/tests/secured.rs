//! Everything on at once: TLS at the registry, certificates between members, passwords and a policy; with docker, podman, skopeo,
//! containerd, curl and openssl.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shoal_e2e::podman::Podman;
use shoal_e2e::programs::{self, Place};
use shoal_e2e::secured::Secured;
use shoal_e2e::shoalctl::{Authority, Identity};
use shoal_e2e::wait::wait_until;
use shoal_e2e::{Containerd, Curl, Docker, Node, fixture, skopeo, tool};
use shoal_test_images::ImageSpec;

const MIB: u64 = 1024 * 1024;
/// Certificates are looked at every few seconds; the rest is for a busy machine.
const RENEWAL_TIME_MAX: Duration = Duration::from_secs(30);

/// The directory in which docker looks for the authority of a registry; gone when dropped.
struct Trust(PathBuf);

impl Trust {
    fn new(host: &str, ca: &Path) -> Result<Self> {
        let directory = Path::new("/etc/docker/certs.d").join(host);
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(ca, directory.join("ca.crt"))?;
        Ok(Self(directory))
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        // Of no use to anybody: the port was the kernel's choice.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// skopeo with a directory of authorities, and with credentials for the side that has some.
fn copy(secured: &Secured, from: &str, to: &str, words: &[&str]) -> Result<(bool, String)> {
    let none = secured.directory().join("auth.json");
    std::fs::write(&none, "{}")?;
    let program = tool::call("skopeo", "skopeo", ["--insecure-policy", "copy"])?.args(words).args([from, to]);
    let output = tool::output(program.env("REGISTRY_AUTH_FILE", none))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn expect(outcome: (bool, String), success: bool, what: &str) -> Result<String> {
    ensure!(outcome.0 == success, "{what}: {}", outcome.1);
    Ok(outcome.1)
}

/// Pushes an image to `team/app:v1` as `ci`, over TLS.
fn push(secured: &Secured, sizes: Vec<u64>) -> Result<()> {
    let directory = secured.directory().join("image");
    fixture::runnable(&directory, sizes, "secured")?;
    let target = format!("docker://{}/team/app:v1", secured.host()?);
    let trust = format!("--dest-cert-dir={}", secured.certificate_directory()?.display());
    let source = skopeo::layout(&directory, fixture::TAG);
    expect(copy(secured, &source, &target, &[&trust, "--dest-creds=ci:ci-secret"])?, true, "ci pushes")?;
    Ok(())
}

/// Pulls `team/app:v1` through an agent's plain port on loopback.
fn pull_through(secured: &Secured, agent: &Node, name: &str) -> Result<()> {
    let directory = secured.directory().join(name);
    std::fs::create_dir(&directory)?;
    let source = format!("docker://{}/team/app:v1", agent.listener("registry")?);
    let words = ["--src-tls-verify=false"];
    expect(copy(secured, &source, &skopeo::plain(&directory), &words)?, true, name)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, docker and skopeo; run by cargo xtask test --tier e2e"]
async fn docker_pushes_over_tls_and_agents_pull_from_each_other_over_it() -> Result<()> {
    let secured = Secured::start()?;
    let host = secured.host()?;
    let docker = Docker::start(&[])?;
    let name = format!("{host}/team/app:v1");
    let directory = secured.directory().join("image");
    fixture::runnable(&directory, vec![24 * MIB, 8 * MIB], "docker was let in")?;
    let archive = secured.directory().join("image.tar");
    let target = format!("docker-archive:{}:{name}", archive.display());
    let source = skopeo::layout(&directory, fixture::TAG);
    expect(copy(&secured, &source, &target, &[])?, true, "an archive for docker")?;
    docker.run(&["load", "--input", &archive.display().to_string()])?;

    let login = |password: &str| docker.attempt(&["login", "-u", "ci", "-p", password, &host]);
    if !secured.server.listener("registry")?.ip().is_loopback() {
        let unknown = expect(login("ci-secret")?, false, "docker does not know the authority")?;
        ensure!(unknown.contains("x509"), "{unknown}");
    }
    let _trust = Trust::new(&host, &secured.identity.ca)?;
    expect(docker.attempt(&["push", &name])?, false, "docker pushes without a login")?;
    let wrong = expect(login("wrong")?, false, "a wrong password")?;
    ensure!(wrong.to_lowercase().contains("unauthorized"), "{wrong}");
    expect(login("ci-secret")?, true, "ci logs in")?;
    docker.run(&["push", &name])?;
    let other = format!("{host}/other/app:v1");
    docker.run(&["tag", &name, &other])?;
    let denied = docker.attempt(&["push", &other])?;
    ensure!(expect(denied, false, "ci pushes elsewhere")?.contains("denied"), "not denied");
    docker.run(&["rmi", "--force", &name, &other])?;

    for (at, agent) in secured.agents.iter().enumerate() {
        let pulled = format!("{}/team/app:v1", agent.listener("registry")?);
        docker.run(&["pull", &pulled])?;
        let printed = docker.run(&["run", "--rm", "--network=none", &pulled])?;
        ensure!(printed == "docker was let in\n", "{printed}");
        docker.run(&["rmi", "--force", &pulled])?;
        let metrics = agent.metrics().await?;
        let (peers, all) = (metrics.received_from("peer"), metrics.received());
        ensure!(all >= 32.0 * 1024.0 * 1024.0, "agent {at} received {all} bytes");
        ensure!(at == 0 || peers / all > 0.5, "agent {at} took {peers} of {all} bytes from peers");
    }
    let audit = std::fs::read_to_string(secured.audit_log())?;
    ensure!(audit.contains("team/app") && audit.contains("other/app"), "{audit}");
    ensure!(!audit.contains("ci-secret"), "the audit log has a password");
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, containerd, podman and skopeo; run by cargo xtask test --tier e2e"]
fn containerd_and_podman_trust_the_authority_as_documented() -> Result<()> {
    let secured = Secured::start()?;
    push(&secured, vec![MIB])?;
    let host = secured.host()?;
    let name = format!("{host}/team/app:v1");
    let podman = Podman::new()?;
    ensure!(podman.run(&["pull", "--creds=ci:ci-secret", &name]).is_err(), "an authority that nobody knows");
    let trust = format!("--cert-dir={}", secured.certificate_directory()?.display());
    ensure!(podman.run(&["pull", &trust, &name]).is_err(), "nobody pulls");
    podman.run(&["pull", &trust, "--creds=ci:ci-secret", &name])?;
    podman.run(&["push", &trust, "--creds=ci:ci-secret", &name, &format!("{host}/team/again:v1")])?;

    let containerd = Containerd::start()?;
    let user = ["images", "pull", "--snapshotter=native", "--user", "ci:ci-secret", "--hosts-dir"];
    let hosts = secured.directory().join("hosts");
    let section = hosts.join(&host);
    std::fs::create_dir_all(&section)?;
    let hosts = hosts.display().to_string();
    let pull = || containerd.ctr(&[&user[..], &[&hosts, &name]].concat());
    ensure!(pull().is_err(), "an authority that nobody knows");
    let ca = secured.identity.ca.display();
    let toml = format!("server = \"https://{host}\"\n\n[host.\"https://{host}\"]\n  ca = \"{ca}\"\n");
    std::fs::write(section.join("hosts.toml"), toml)?;
    pull()?;
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, curl and skopeo; run by cargo xtask test --tier e2e"]
fn the_ports_of_members_take_members_only() -> Result<()> {
    let secured = Secured::start()?;
    let person = secured.authority.issue("person", "client", &[])?;
    let elsewhere = secured.directory().join("elsewhere");
    let stranger = Authority::new(&elsewhere)?.issue("node-1", "agent", &["127.0.0.1"])?;
    let stranger = Identity { ca: secured.identity.ca.clone(), ..stranger };
    for port in ["origin", "tracker", "tags"] {
        let address = secured.server.listener(port)?;
        let url = format!("https://{address}/readyz");
        let refused = |curl: Curl, who: &str| -> Result<()> {
            let answer = curl.send()?;
            ensure!(answer.status == 0 && !answer.complaint.is_empty(), "{port} answers {who}: {answer:?}");
            Ok(())
        };
        refused(Curl::new(&url)?.trusting(&secured.identity.ca), "somebody without a certificate")?;
        refused(Curl::new(&url)?.showing(&person), "a client's certificate")?;
        refused(Curl::new(&url)?.showing(&stranger), "another authority's certificate")?;
        let plain = Curl::new(&format!("http://{address}/readyz"))?.send()?;
        ensure!(plain.status == 0 || plain.status == 400, "{port} answers without TLS: {plain:?}");
        for member in &secured.members {
            let answer = Curl::new(&url)?.showing(member).send()?;
            ensure!(answer.status == 200, "{port} refuses an agent: {answer:?}");
        }
    }
    // The same certificate is good for the registry, where it is a name like another and this one may do nothing.
    let url = format!("https://{}/v2/team/app/tags/list", secured.host()?);
    let answer = Curl::new(&url)?.showing(&person).send()?;
    ensure!(matches!(answer.status, 401 | 403 | 404), "{answer:?}");
    let answer = Curl::new(&url)?.trusting(&secured.identity.ca).send()?;
    ensure!(answer.status == 401, "{answer:?}");
    push(&secured, vec![MIB])?;
    let answer = Curl::new(&url)?.showing(&secured.members[0]).send()?;
    ensure!(answer.status == 200, "an agent may pull by its certificate: {answer:?}");
    let answer = Curl::new(&url)?.showing(&stranger).send()?;
    ensure!(answer.status == 0, "another authority's certificate at the registry: {answer:?}");
    Ok(())
}

/// Whether a new connection to `address` is shown the certificate that is in the file now.
fn shows(address: &str, asking: &Identity, file: &Path, protocol: &str) -> Result<bool> {
    let path = |path: &Path| path.display().to_string();
    let words = ["s_client", "-connect", address, "-alpn", protocol, "-cert", &path(&asking.certificate)];
    let words = words.map(str::to_owned).into_iter();
    let program = tool::call("openssl", "openssl", words)?;
    let mut command: Command =
        program.args(["-key", &path(&asking.key), "-CAfile", &path(&asking.ca)]).command();
    let output = command.stdin(Stdio::null()).output().context("cannot run openssl")?;
    let pem = std::fs::read_to_string(file)?;
    let wanted: String = pem.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    ensure!(!wanted.is_empty(), "no certificate in {}", file.display());
    Ok(String::from_utf8_lossy(&output.stdout).lines().collect::<String>().contains(&wanted))
}

/// Asks on new connections until told to stop; returns the complaints and how many requests there were.
fn ask(secured: &Secured, stop: &AtomicBool) -> Result<(Vec<String>, usize)> {
    let registry = format!("https://{}/v2/team/app/manifests/v1", secured.host()?);
    let tracker = format!("https://{}/readyz", secured.server.listener("tracker")?);
    let (mut complaints, mut count) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        for url in [&registry, &tracker] {
            let answer = Curl::new(url)?.showing(&secured.members[0]).send()?;
            count += 1;
            if answer.status != 200 {
                complaints.push(format!("{url}: {} {}", answer.status, answer.complaint));
            }
        }
    }
    Ok((complaints, count))
}

#[test]
#[ignore = "e2e: needs root, curl, openssl and skopeo; run by cargo xtask test --tier e2e"]
fn a_renewed_certificate_is_shown_without_a_restart_and_no_request_fails() -> Result<()> {
    let secured = Secured::start()?;
    push(&secured, vec![5 * MIB])?;
    pull_through(&secured, &secured.agents[0], "before")?;
    let before = std::fs::read(&secured.identity.certificate)?;
    let stop = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| ask(&secured, &stop));
        // As operators do: the same word again. The hosts are those of before.
        let renewed = (|| {
            secured.authority.issue("server-1", "server", &[])?;
            secured.authority.issue("node-1", "agent", &[])?;
            let doors = [
                (secured.host()?, &secured.identity, "http/1.1"),
                (secured.server.listener("tracker")?.to_string(), &secured.identity, "http/1.1"),
                (secured.server.listener("peer")?.to_string(), &secured.identity, "shoal-peer"),
                (secured.agents[0].listener("peer")?.to_string(), &secured.members[0], "shoal-peer"),
            ];
            for (address, owner, protocol) in &doors {
                let seen = wait_until(RENEWAL_TIME_MAX, || {
                    shows(address, &secured.members[1], &owner.certificate, protocol)
                        .map_or_else(|error| Some(Err(error)), |seen| seen.then_some(Ok(())))
                });
                seen.with_context(|| format!("{address} ({protocol}) shows the old certificate"))??;
            }
            Ok::<_, anyhow::Error>(())
        })();
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))??;
        renewed.map(|()| asked)
    })?;
    ensure!(std::fs::read(&secured.identity.certificate)? != before, "nothing was renewed");
    let (complaints, count) = asked;
    ensure!(complaints.is_empty() && count > 2, "of {count} requests: {complaints:?}");
    pull_through(&secured, &secured.agents[1], "after")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "e2e: needs root, curl and skopeo; run by cargo xtask test --tier e2e"]
async fn a_key_alone_keeps_strangers_out_of_the_ports_of_members() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("shoal-key-").tempdir()?;
    let bin_dir = programs::bin_dir()?;
    let place = |name: &str| Place::loopback(directory.path().join(name));
    let server = Node::server(&bin_dir, place("server").with("cluster_key", "hunter2"))?;
    let image = directory.path().join("image");
    fixture::made(&image, &ImageSpec::new(vec![9 * MIB], 3))?;
    let target = format!("docker://{}/team/app:v1", server.listener("registry")?);
    skopeo::copy(&skopeo::layout(&image, fixture::TAG), &target, false)?;

    let get = |port: &str, path: &str| Curl::new(&format!("http://{}{path}", server.listener(port)?))?.send();
    let digest = server.registry()?.resolve("team/app", "v1").await?.context("no tag")?.0;
    for (port, path) in [
        ("origin", format!("/blobs/{digest}")),
        ("origin", format!("/blobs/{digest}/metainfo")),
        ("tracker", "/swarms".to_owned()),
        ("tracker", "/agents".to_owned()),
        ("tags", "/tags/team%2Fapp%3Av1".to_owned()),
    ] {
        let answer = get(port, &path)?;
        ensure!(answer.status == 401, "{port}{path}: {answer:?}");
        let wrong = format!("http://{}{path}", server.listener(port)?);
        let wrong = Curl::new(&wrong)?.with(&["--header", "Authorization: Bearer hunter2"]).send()?;
        ensure!(wrong.status == 401, "{port}{path}: {wrong:?}");
    }
    let start = |name: &str, key: Option<&str>| {
        // Those who get nothing say so when this is over.
        let place = place(name).with("registry.first_byte_timeout", "2s");
        let place = key.iter().fold(place, |place, key| place.with("cluster_key", key));
        Node::agent(&bin_dir, place, &server)
    };
    let pull = |agent: &Node, name: &str| -> Result<bool> {
        let to = directory.path().join(name);
        std::fs::create_dir(&to)?;
        let from = format!("docker://{}/team/app:v1", agent.listener("registry")?);
        Ok(skopeo::copy(&from, &skopeo::plain(&to), false).is_ok())
    };
    let agents = [start("one", Some("hunter2"))?, start("two", Some("hunter2"))?];
    for (at, agent) in agents.iter().enumerate() {
        ensure!(pull(agent, &format!("pulled-{at}"))?, "agent {at} has the key and does not get the image");
    }
    let peers = agents[1].metrics().await?.received_from("peer");
    ensure!(peers > 0.0, "the second agent took nothing from the first");
    for (name, key) in [("keyless", None), ("guessing", Some("hunter3"))] {
        let agent = start(name, key)?;
        // The registry is open here: what it gives to anybody, such an agent may pass on. Members give it nothing.
        pull(&agent, &format!("pulled-{name}"))?;
        ensure!(agent.metrics().await?.received() == 0.0, "members gave bytes to the {name} agent");
    }
    Ok(())
}
