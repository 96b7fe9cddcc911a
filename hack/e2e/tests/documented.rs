//! The commands and configurations of docs/operations/tls.md and auth.md, run as they stand there.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use shoal_e2e::process::{Process, Program};
use shoal_e2e::ready::Ready;
use shoal_e2e::{Curl, fixture, programs, skopeo, tool};
use shoal_test_images::ImageSpec;

const TLS: &str = include_str!("../../../docs/operations/tls.md");
const AUTH: &str = include_str!("../../../docs/operations/auth.md");

/// The part below a heading of the second level.
fn section<'page>(page: &'page str, heading: &str) -> Result<&'page str> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).with_context(|| format!("no {heading}"))?;
    Ok(rest.split("\n## ").next().unwrap_or(rest))
}

/// The commands: lines that begin with `$`.
fn commands(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// The configurations: fenced blocks of YAML.
fn configurations(text: &str) -> Vec<&str> {
    text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// A machine on which `/etc/shoal` is a temporary directory.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::Builder::new().prefix("shoal-documented-").tempdir()? })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// What the page says, about this machine.
    fn here(&self, text: &str) -> String {
        text.replace("/etc/shoal", &self.directory.path().display().to_string())
            .replace("shoal.example.com", "localhost")
    }

    /// Runs commands in a shell, with our programs in its path.
    fn shell(&self, script: &str, input: &str) -> Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", programs::bin_dir()?.canonicalize()?.display());
        let mut command: Command = Program::new("bash").args(["-euo", "pipefail", "-c", script]).command();
        command.env("PATH", path).env("CI_PASSWORD", "ci-secret").current_dir(self.directory.path());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{script}\n{complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the server with a configuration of the page, on ports of the kernel's choice.
    fn serve(&self, configuration: &str) -> Result<(Process, Ready)> {
        let file = self.path("server.yaml");
        std::fs::write(&file, self.here(configuration))?;
        let mut program = Program::new(programs::bin_dir()?.join("shoal-server"))
            .arg("--config")
            .arg(&file)
            .arg("--ready-file")
            .arg(self.path("ready.json"))
            .env("SHOAL_DATA_DIRECTORY", self.path("data"));
        for listener in [
            "REGISTRY__LISTEN",
            "ORIGIN__LISTEN",
            "ORIGIN__PEER_LISTEN",
            "TRACKER__LISTEN",
            "TAGS__LISTEN",
            "ADMIN__LISTEN",
        ] {
            program = program.env(format!("SHOAL_{listener}"), "127.0.0.1:0");
        }
        let mut process = program.start("shoal-server", &self.path("log"))?;
        let ready = Ready::wait(&mut process, &self.path("ready.json"))?;
        Ok((process, ready))
    }

    /// Checks a configuration with the program that it is for.
    fn check(&self, program: &str, configuration: &str) -> Result<()> {
        let file = self.path("checked.yaml");
        std::fs::write(&file, self.here(configuration))?;
        let program = Program::new(programs::bin_dir()?.join(program)).arg("--check-config");
        tool::run(program.arg("--config").arg(&file)).map(drop)
    }
}

/// Copies what `--out` has written to where the configurations look for it.
fn install(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[test]
#[ignore = "e2e: needs curl and openssl; run by cargo xtask test --tier e2e"]
fn everything_on_works_as_the_page_on_tls_says() -> Result<()> {
    let machine = Machine::new()?;
    let page = section(TLS, "Everything on")?;
    let (made, looked): (Vec<_>, Vec<_>) =
        commands(page).into_iter().partition(|line| line.starts_with("shoalctl"));
    machine.shell(&machine.here(&made.join("\n")), "")?;
    for name in ["server-1", "node-17"] {
        install(&machine.path(name), &machine.path("tls"))?;
    }
    std::fs::write(machine.path("htpasswd"), shoal_e2e::shoalctl::password_line("ci")?)?;
    let [server, agent] = configurations(page)[..] else { anyhow::bail!("not two configurations") };
    machine.check("shoal-agent", agent)?;
    let (_process, ready) = machine.serve(server)?;
    let script = machine.here(&looked.join("\n"));
    let script = script.replace(":15000", &format!(":{}", ready.listener("registry")?.port()));
    let script = script.replace(":15003", &format!(":{}", ready.listener("tracker")?.port()));
    let told = machine.shell(&script, "")?;
    ensure!(told.contains("server-1") && told.contains("notAfter") && told.contains('{'), "{told}");
    Ok(())
}

#[test]
#[ignore = "e2e: needs the programs; run by cargo xtask test --tier e2e"]
fn the_authority_works_as_the_page_on_tls_says() -> Result<()> {
    let machine = Machine::new()?;
    let page = section(TLS, "A private certificate authority: `shoalctl ca`")?;
    let told = machine.shell(&machine.here(&commands(page).join("\n")), "")?;
    ensure!(["server-1", "node-17", "ci"].iter().all(|name| told.contains(name)), "{told}");
    Ok(())
}

/// A key of an issuer, and a token that it signed for `$1` of owner `$2`.
const ISSUER: &str = r#"
encode() { openssl base64 -A | tr '+/' '-_' | tr -d =; }
[ -f issuer.pem ] || openssl genrsa -out issuer.pem 2048 2>/dev/null
n=$(openssl rsa -in issuer.pem -noout -modulus | cut -d= -f2 | tr -d '\n' | sed 's/../\\x&/g' | xargs -0 printf '%b' | encode)
printf '{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"1","n":"%s","e":"AQAB"}]}' "$n" > jwks.json
now=$(date +%s)
head=$(printf '{"alg":"RS256","kid":"1","typ":"JWT"}' | encode)
body=$(printf '{"iss":"https://token.actions.githubusercontent.com","aud":"registry.example.com","sub":"%s","repository_owner":"%s","iat":%s,"nbf":%s,"exp":%s}' "$sub" "$owner" "$now" "$now" "$((now + 600))" | encode)
printf '%s.%s.%s' "$head" "$body" "$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -sign issuer.pem | encode)"
"#;

#[test]
#[ignore = "e2e: needs curl, openssl and skopeo; run by cargo xtask test --tier e2e"]
fn accounts_and_ci_identities_work_as_the_page_on_rights_says() -> Result<()> {
    let machine = Machine::new()?;
    machine.shell(&machine.here(&commands(section(AUTH, "Accounts")?).join("\n")), "alice-secret\n")?;
    std::fs::write(machine.path("cluster-key"), "hunter2")?;
    let token = |sub: &str, owner: &str| machine.shell(&format!("sub='{sub}' owner='{owner}'\n{ISSUER}"), "");
    let main = token("repo:acme/app:ref:refs/heads/main", "acme")?;
    let [configuration, _grants] = configurations(AUTH)[..] else { anyhow::bail!("not two configurations") };
    // The issuer's keys, which would be asked of GitHub otherwise.
    let line = "      issuer: https://token.actions.githubusercontent.com\n";
    ensure!(configuration.contains(line), "the page has another issuer");
    let keys = format!("{line}      jwks_file: {}\n", machine.path("jwks.json").display());
    let (_process, ready) = machine.serve(&configuration.replace(line, &keys))?;
    let host = ready.listener("registry")?;

    for (credentials, status) in [("alice:alice-secret", 200), ("ci:ci-secret", 200), ("alice:wrong", 401)] {
        let answer = Curl::new(&format!("http://{host}/v2/"))?.with(&["--user", credentials]).send()?;
        ensure!(answer.status == status, "{credentials}: {answer:?}");
    }
    let none = machine.path("auth.json");
    std::fs::write(&none, "{}")?;
    let push = |seed: u64, repository: &str, credentials: &str| -> Result<bool> {
        let directory = machine.path(&format!("image-{seed}"));
        fixture::made(&directory, &ImageSpec::new(vec![70_000], seed))?;
        let words = ["--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", credentials];
        let program = tool::call("skopeo", "skopeo", words)?.arg(skopeo::layout(&directory, fixture::TAG));
        let program = program.arg(format!("docker://{host}/{repository}"));
        Ok(tool::output(program.env("REGISTRY_AUTH_FILE", &none))?.status.success())
    };
    let ci = |token: &str| format!("oidc:{token}");
    ensure!(push(1, "release/app:v1.2.0", &ci(&main))?, "the job of the main branch makes a release");
    ensure!(push(1, "release/app:v1.2.0", &ci(&main))?, "the same content again is no move");
    ensure!(!push(2, "release/app:v1.2.0", &ci(&main))?, "a release moved");
    let branch = token("repo:acme/app:ref:refs/heads/other", "acme")?;
    ensure!(!push(2, "release/app:v1.3.0", &ci(&branch))?, "a job of another branch made a release");
    let stranger = token("repo:acme/app:ref:refs/heads/main", "eve")?;
    ensure!(!push(2, "release/app:v1.3.0", &ci(&stranger))?, "somebody else's job made a release");
    ensure!(push(2, "team/app:latest", "alice:alice-secret")?, "a developer pushes to the team");
    ensure!(!push(2, "team/app:latest", "ci:ci-secret")?, "who is no developer pushed to the team");
    ensure!(push(2, "users/ci/app:latest", "ci:ci-secret")?, "everybody has a place of their own");
    ensure!(!push(2, "users/alice/app:latest", "ci:ci-secret")?, "and no other's");
    ensure!(push(2, "release/app:v1.2.0", "alice:alice-secret")?, "an administrator moves an immutable tag");
    Ok(())
}
