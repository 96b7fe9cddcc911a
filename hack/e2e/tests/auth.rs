//! Real clients against a server that asks who they are: docker, podman, skopeo and containerd log in, push, pull, and are refused.

use anyhow::{Result, ensure};
use shoal_e2e::podman::Podman;
use shoal_e2e::programs::{self, Place};
use shoal_e2e::shoalctl::password_line;
use shoal_e2e::{Containerd, Docker, Node, fixture, skopeo, tool};
use shoal_test_images::ImageSpec;
use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;

/// A server with three accounts: `alice` may push to `team/**`, `bob` may pull there, `eve` may do nothing. `public/**` is everybody's to
/// pull, and tags `v*` of `team/**` do not move. Passwords are the names with `-secret`.
struct Secured {
    server: Node,
    directory: TempDir,
}

impl Secured {
    /// `extra` is what else stands in the section `auth`.
    fn start(extra: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-auth-").tempdir()?;
        let htpasswd = directory.path().join("htpasswd");
        let lines = ["alice", "bob", "eve"].map(password_line).into_iter().collect::<Result<Vec<_>>>()?;
        std::fs::write(&htpasswd, lines.concat())?;
        let auth = format!(
            "{{htpasswd: {}, immutable_tags: [{{repositories: ['team/**'], tags: ['v*']}}], policy: [\
             {{subjects: [anonymous], repositories: ['public/**'], actions: [pull]}}, \
             {{subjects: [alice], repositories: ['team/**', 'public/**'], actions: [pull, push, delete]}}, \
             {{subjects: [bob], repositories: ['team/**'], actions: [pull]}}]{extra}}}",
            htpasswd.display()
        );
        let place = Place::loopback(directory.path().join("server")).with("auth", &auth);
        Ok(Self { server: Node::server(&programs::bin_dir()?, place)?, directory })
    }

    fn host(&self) -> Result<String> {
        Ok(self.server.listener("registry")?.to_string())
    }

    /// An image of some layers in an OCI layout, as skopeo spells it.
    fn image(&self, name: &str, seed: u64) -> Result<String> {
        let directory = self.directory.path().join(name);
        fixture::made(&directory, &ImageSpec::new(vec![MIB, 70_000], seed))?;
        Ok(skopeo::layout(&directory, fixture::TAG))
    }

    fn skopeo(&self, from: &str, to: &str, credentials: &[String]) -> Result<(bool, String)> {
        let words = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        // No credentials of the machine's user.
        let none = self.directory.path().join("auth.json");
        std::fs::write(&none, "{}")?;
        let program = tool::call("skopeo", "skopeo", words)?.args(credentials).args([from, to]);
        let output = tool::output(program.env("REGISTRY_AUTH_FILE", none))?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    fn push(&self, source: &str, repository: &str, who: &str) -> Result<(bool, String)> {
        let target = format!("docker://{}/{repository}", self.host()?);
        self.skopeo(source, &target, &[format!("--dest-creds={who}:{who}-secret")])
    }

    fn pull(&self, repository: &str, who: Option<&str>, name: &str) -> Result<(bool, String)> {
        let source = format!("docker://{}/{repository}", self.host()?);
        let target = self.directory.path().join(name);
        std::fs::create_dir(&target)?;
        let credentials: Vec<String> =
            who.map(|who| format!("--src-creds={who}:{who}-secret")).into_iter().collect();
        self.skopeo(&source, &skopeo::plain(&target), &credentials)
    }
}

fn expect(outcome: (bool, String), success: bool, what: &str) -> Result<String> {
    ensure!(outcome.0 == success, "{what}: {}", outcome.1);
    Ok(outcome.1)
}

#[test]
#[ignore = "e2e: needs skopeo; run by cargo xtask test --tier e2e"]
fn skopeo_pushes_and_pulls_with_tokens_and_with_basic() -> Result<()> {
    for extra in ["", ", token: {enabled: false}"] {
        let secured = Secured::start(extra)?;
        let (one, two) = (secured.image("one", 1)?, secured.image("two", 2)?);
        expect(secured.push(&one, "team/app:v1", "alice")?, true, "alice pushes")?;
        expect(secured.push(&one, "public/app:latest", "alice")?, true, "alice pushes what is public")?;
        for (who, success) in [("alice", true), ("bob", true), ("eve", false)] {
            let name = format!("pulled-{who}");
            expect(secured.pull("team/app:v1", Some(who), &name)?, success, who)?;
        }
        expect(secured.pull("team/app:v1", None, "pulled-nobody")?, false, "nobody pulls")?;
        expect(secured.pull("public/app:latest", None, "public")?, true, "nobody pulls what is public")?;
        expect(secured.push(&two, "team/other:latest", "bob")?, false, "bob pushes")?;
        expect(secured.push(&two, "team/app:v1", "alice")?, false, "alice moves an immutable tag")?;
        expect(secured.push(&two, "team/app:latest", "alice")?, true, "alice makes another tag")?;
    }
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, docker and skopeo; run by cargo xtask test --tier e2e"]
fn docker_logs_in_pushes_pulls_and_is_refused() -> Result<()> {
    let secured = Secured::start("")?;
    let docker = Docker::start(&[])?;
    let host = secured.host()?;
    let name = format!("{host}/team/app:v1");
    let directory = secured.directory.path().join("image");
    fixture::runnable(&directory, vec![MIB], "docker was let in")?;
    let archive = secured.directory.path().join("image.tar");
    let target = format!("docker-archive:{}:{name}", archive.display());
    tool::run(tool::call(
        "skopeo",
        "skopeo",
        ["--insecure-policy", "copy", &skopeo::layout(&directory, fixture::TAG), &target],
    )?)?;
    docker.run(&["load", "--input", &archive.display().to_string()])?;

    expect(docker.attempt(&["push", &name])?, false, "docker pushes without a login")?;
    let login = |who: &str, password: &str| docker.attempt(&["login", "-u", who, "-p", password, &host]);
    expect(login("alice", "wrong")?, false, "a wrong password")?;
    expect(login("alice", "alice-secret")?, true, "alice logs in")?;
    docker.run(&["push", &name])?;
    docker.run(&["push", &name])?;
    docker.run(&["rmi", "--force", &name])?;
    docker.run(&["pull", &name])?;
    docker.run(&["tag", &name, &format!("{host}/public/app:v1")])?;
    docker.run(&["push", &format!("{host}/public/app:v1")])?;
    docker.run(&["tag", &name, &format!("{host}/secret/app:v1")])?;
    let refused = expect(
        docker.attempt(&["push", &format!("{host}/secret/app:v1")])?,
        false,
        "alice pushes elsewhere",
    )?;
    ensure!(refused.contains("denied"), "{refused}");

    docker.run(&["logout", &host])?;
    docker.run(&["rmi", "--force", &name, &format!("{host}/public/app:v1")])?;
    expect(docker.attempt(&["pull", &name])?, false, "nobody pulls")?;
    docker.run(&["pull", &format!("{host}/public/app:v1")])?;
    expect(login("bob", "bob-secret")?, true, "bob logs in")?;
    docker.run(&["pull", &name])?;
    expect(docker.attempt(&["push", &name])?, false, "bob pushes")?;
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, podman and skopeo; run by cargo xtask test --tier e2e"]
fn podman_logs_in_pushes_and_pulls() -> Result<()> {
    let secured = Secured::start("")?;
    let host = secured.host()?;
    expect(secured.push(&secured.image("one", 1)?, "team/app:v1", "alice")?, true, "alice pushes")?;
    let podman = Podman::new()?;
    let name = format!("{host}/team/app:v1");
    ensure!(podman.run(&["pull", "--tls-verify=false", &name]).is_err(), "nobody pulls");
    let login = ["login", "--tls-verify=false", "-u", "alice", "-p"];
    ensure!(podman.run(&[&login[..], &["wrong", &host]].concat()).is_err(), "a wrong password");
    podman.run(&[&login[..], &["alice-secret", &host]].concat())?;
    podman.run(&["pull", "--tls-verify=false", &name])?;
    let again = format!("{host}/team/again:latest");
    podman.run(&["tag", &name, &again])?;
    podman.run(&["push", "--tls-verify=false", &again])?;
    let elsewhere = format!("{host}/secret/app:latest");
    podman.run(&["tag", &name, &elsewhere])?;
    ensure!(podman.run(&["push", "--tls-verify=false", &elsewhere]).is_err(), "alice pushes elsewhere");
    Ok(())
}

#[test]
#[ignore = "e2e: needs root, containerd and skopeo; run by cargo xtask test --tier e2e"]
fn containerd_pulls_and_pushes_with_a_user() -> Result<()> {
    let secured = Secured::start("")?;
    let host = secured.host()?;
    let one = secured.image("one", 1)?;
    expect(secured.push(&one, "team/app:v1", "alice")?, true, "alice pushes")?;
    expect(secured.push(&one, "public/app:v1", "alice")?, true, "alice pushes what is public")?;
    let containerd = Containerd::start()?;
    let name = format!("{host}/team/app:v1");
    let pull = ["images", "pull", "--plain-http", "--local", "--snapshotter=native"];
    // Older releases know no other way than the local one.
    let pull = if containerd.ctr(&["images", "pull", "--help"])?.contains("--local") {
        &pull[..]
    } else {
        &["images", "pull", "--plain-http", "--snapshotter=native"][..]
    };
    ensure!(containerd.ctr(&[pull, &[name.as_str()]].concat()).is_err(), "nobody pulls");
    ensure!(containerd.ctr(&[pull, &["--user", "bob:wrong", &name]].concat()).is_err(), "a wrong password");
    ensure!(containerd.ctr(&[pull, &["--user", "eve:eve-secret", &name]].concat()).is_err(), "eve pulls");
    containerd.ctr(&[pull, &["--user", "bob:bob-secret", &name]].concat())?;
    containerd.ctr(&[pull, &[format!("{host}/public/app:v1").as_str()]].concat())?;
    let again = format!("{host}/team/again:latest");
    let push = ["images", "push", "--plain-http"];
    let push = |who: &str, to: &str| {
        containerd.ctr(&[&push[..], &["--user", &format!("{who}:{who}-secret"), to, &name]].concat())
    };
    ensure!(push("bob", &again).is_err(), "bob pushes");
    push("alice", &again)?;
    expect(secured.pull("team/again:latest", Some("bob"), "again")?, true, "what containerd has pushed")?;
    Ok(())
}
