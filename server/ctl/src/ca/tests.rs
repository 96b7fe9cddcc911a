//! Authorities and certificates in temporary directories, judged by rustls and, where there is one, by openssl.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command as Program;
use std::sync::Arc;

use clap::Parser;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::cli::{Cli, Command};

fn ca(arguments: &[&str]) -> Result<Report> {
    let cli = Cli::try_parse_from(["shoalctl", "ca"].iter().chain(arguments))?;
    match cli.command {
        Command::Ca(command) => run(&command),
        _ => unreachable!(),
    }
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        new.run(&["init"], &[]).unwrap();
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("ca").join(name)
    }

    /// `shoalctl ca <before> DIR <after>`.
    fn run(&self, before: &[&str], after: &[&str]) -> Result<Report> {
        let directory = self.path("");
        let all = [before, &[directory.to_str().unwrap()], after].concat();
        ca(&all)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.path("ca.pem")).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        Arc::new(roots)
    }

    /// Whether a TLS client that trusts this authority takes the certificate `name` for `host`.
    fn serves(&self, name: &str, host: &str) -> bool {
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots(), provider).build().unwrap();
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        verifier.verify_server_cert(&certificate, &[], &host, &[], UnixTime::now()).is_ok()
    }
}

fn mode(path: PathBuf) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_authority_is_made_once_and_its_key_is_private() {
    let directory = Directory::new();
    assert_eq!(
        (mode(directory.path("ca-key.pem")), mode(directory.path("ca.pem")), mode(directory.path(""))),
        (0o600, 0o644, 0o700)
    );
    let before = directory.read("ca-key.pem");
    let refused = directory.run(&["init"], &[]).unwrap_err().to_string();
    assert!(refused.contains("not overwritten") && refused.contains("rotate"), "{refused}");
    assert_eq!(directory.read("ca-key.pem"), before);
    std::fs::remove_file(directory.path("ca.pem")).unwrap();
    assert!(directory.run(&["init"], &[]).is_err(), "a key alone is not overwritten either");
}

#[test]
fn rustls_takes_a_server_at_its_hosts_and_nowhere_else() {
    let directory = Directory::new();
    let hosts = ["s1", "--as", "server", "--host", "s1.example.com,10.0.0.7", "--host", "[fd00::1]"];
    let report = directory.run(&["issue"], &hosts).unwrap();
    assert_eq!(report.json["certificates"][0]["hosts"][1], "10.0.0.7");
    assert_eq!(report.rows[0][1], "server");
    assert!(directory.serves("s1", "s1.example.com"));
    assert!(directory.serves("s1", "10.0.0.7") && directory.serves("s1", "fd00::1"));
    assert!(!directory.serves("s1", "s1") && !directory.serves("s1", "10.0.0.8"));
    let other = Directory::new();
    std::fs::copy(directory.path("s1.pem"), other.path("s1.pem")).unwrap();
    assert!(!other.serves("s1", "s1.example.com"), "another authority's certificate");
    assert_eq!(mode(directory.path("s1-key.pem")), 0o600);
}

#[test]
fn agents_serve_and_call_and_clients_only_call() {
    let directory = Directory::new();
    directory.run(&["issue"], &["node-7", "--as", "agent"]).unwrap();
    directory.run(&["issue"], &["ci", "--as", "client"]).unwrap();
    assert!(directory.serves("node-7", "node-7"), "the name is the host when none is given");
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(directory.roots(), provider.clone()).build().unwrap();
    for name in ["node-7", "ci"] {
        let certificate = CertificateDer::from_pem_file(directory.path(&format!("{name}.pem"))).unwrap();
        assert!(verifier.verify_client_cert(&certificate, &[], UnixTime::now()).is_ok(), "{name}");
        let key = || PrivateKeyDer::from_pem_file(directory.path(&format!("{name}-key.pem"))).unwrap();
        // Both refuse a key that is not the certificate's.
        let server =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key()).unwrap();
        let client =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(directory.roots());
        client.with_client_auth_cert(vec![certificate], key()).unwrap();
    }
    let shown = ca(&["show", directory.path("ci.pem").to_str().unwrap()]).unwrap();
    assert_eq!((&shown.rows[0][1], &shown.rows[0][2]), (&"client".to_owned(), &String::new()));
    let text = x509_parser::pem::parse_x509_pem(directory.read("ci.pem").as_bytes()).unwrap().1.contents;
    assert!(String::from_utf8_lossy(&text).contains("shoal://client/ci"));
}

#[test]
fn issuing_again_renews_with_the_hosts_of_before() {
    let directory = Directory::new();
    directory.run(&["issue"], &["s1", "--as", "server", "--host", "a.example.com", "--days", "10"]).unwrap();
    let before = (directory.read("s1.pem"), directory.read("s1-key.pem"));
    assert_eq!(directory.run(&["list"], &[]).unwrap().rows[1][4], "renew", "ten days are left");
    let out = directory.0.path().join("node");
    let again = ["s1", "--as", "server", "--out", out.to_str().unwrap()];
    directory.run(&["issue"], &again).unwrap();
    assert_eq!(before, (directory.read("s1.pem"), directory.read("s1-key.pem")), "written elsewhere");
    assert_eq!(std::fs::read_to_string(out.join("ca.pem")).unwrap(), directory.read("ca.pem"));
    directory.run(&["issue"], &["s1", "--as", "server"]).unwrap();
    assert_ne!(before.0, directory.read("s1.pem"));
    assert!(directory.serves("s1", "a.example.com"));
    let list = directory.run(&["list"], &[]).unwrap();
    assert_eq!(list.rows.iter().map(|row| row[4].as_str()).collect::<Vec<_>>(), ["valid", "valid"]);
    let names = std::fs::read_dir(directory.path("")).unwrap().count();
    assert_eq!(names, 5, "ca.pem, ca-key.pem, s1.pem, s1-key.pem, issued, and nothing half-written");
    let other_kind = directory.run(&["issue"], &["s1", "--as", "client"]).unwrap_err().to_string();
    assert!(other_kind.contains("kind server"), "{other_kind}");
}

#[test]
fn a_node_is_valid_no_longer_than_its_authority() {
    let directory = Directory(tempfile::tempdir().unwrap());
    directory.run(&["init"], &["--days", "5"]).unwrap();
    let report = directory.run(&["issue"], &["s1", "--as", "server"]).unwrap();
    let authority = &directory.run(&["list"], &[]).unwrap().rows[0];
    assert_eq!(report.rows[0][3], authority[3]);
}

#[test]
fn a_rotation_trusts_both_until_every_node_is_renewed() {
    let directory = Directory::new();
    directory.run(&["issue"], &["s1", "--as", "server"]).unwrap();
    let old = directory.read("ca.pem");
    directory.run(&["rotate"], &[]).unwrap();
    let both = directory.read("ca.pem");
    assert!(both.ends_with(&old) && both == directory.read("ca-bundle.pem"));
    assert!(directory.serves("s1", "s1"), "the old certificate is still good");
    assert!(directory.run(&["rotate"], &[]).unwrap_err().to_string().contains("--finish"));
    let early = directory.run(&["rotate"], &["--finish"]).unwrap_err().to_string();
    assert!(early.contains("s1"), "{early}");
    let out = directory.0.path().join("node");
    let again = ["s1", "--as", "server", "--out", out.to_str().unwrap()];
    directory.run(&["issue"], &again).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("ca.pem")).unwrap(), both);
    directory.run(&["rotate"], &["--finish"]).unwrap();
    assert!(!directory.path("ca-bundle.pem").exists() && !directory.read("ca.pem").contains(&old));
    assert!(!directory.serves("s1", "s1"), "the old certificate is of no use any more");
    std::fs::copy(out.join("s1.pem"), directory.path("s1.pem")).unwrap();
    assert!(directory.serves("s1", "s1"));
    directory.run(&["rotate"], &[]).unwrap();
}

#[test]
fn a_rotation_that_was_killed_half_way_leaves_an_authority() {
    let directory = Directory::new();
    let old = (directory.read("ca.pem"), directory.read("ca-key.pem"));
    directory.run(&["rotate"], &[]).unwrap();
    // After the key, before ca.pem.
    std::fs::write(directory.path("ca.pem"), &old.0).unwrap();
    directory.run(&["issue"], &["s1", "--as", "server"]).unwrap();
    // Before the key: the old one still signs.
    std::fs::write(directory.path("ca-key.pem"), &old.1).unwrap();
    directory.run(&["issue"], &["s2", "--as", "server"]).unwrap();
    assert!(directory.serves("s2", "s2"));
}

#[test]
fn mistakes_are_explained() {
    let empty = tempfile::tempdir().unwrap();
    let missing = ca(&["list", empty.path().to_str().unwrap()]).unwrap_err();
    assert!(format!("{missing:#}").contains("ca init"), "{missing:#}");
    let directory = Directory::new();
    for name in ["../x", "ca", "x-key", "", ".hidden", "a/b", "a b"] {
        assert!(directory.run(&["issue"], &[name, "--as", "server"]).is_err(), "{name}");
    }
    for host in ["http://a", "a:1", "a b", "-a", "a..b", ""] {
        assert!(directory.run(&["issue"], &["s", "--as", "server", "--host", host]).is_err(), "{host}");
    }
    let nameless = directory.run(&["issue"], &["under_score", "--as", "server"]).unwrap_err();
    assert!(format!("{nameless:#}").contains("--host"), "{nameless:#}");
    std::fs::write(directory.path("junk.pem"), "no certificate").unwrap();
    let junk = ca(&["show", directory.path("junk.pem").to_str().unwrap()]).unwrap_err().to_string();
    assert!(junk.contains("holds no certificate"), "{junk}");
    std::fs::write(directory.path("ca-key.pem"), "junk").unwrap();
    let broken = directory.run(&["list"], &[]).unwrap_err().to_string();
    assert!(broken.contains("ca-key.pem") && !broken.contains("junk"), "{broken}");
}

#[test]
fn openssl_verifies_what_was_issued() {
    if Program::new("openssl").arg("version").output().is_err() {
        return;
    }
    let directory = Directory::new();
    directory.run(&["issue"], &["s1", "--as", "server", "--host", "s1.example.com,10.0.0.7"]).unwrap();
    directory.run(&["issue"], &["ci", "--as", "client"]).unwrap();
    let verify = |name: &str, options: &[&str]| {
        let mut openssl = Program::new("openssl");
        openssl.args(["verify", "-x509_strict", "-CAfile"]).arg(directory.path("ca.pem")).args(options);
        let output = openssl.arg(directory.path(name)).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    for options in [
        &["-purpose", "sslserver", "-verify_hostname", "s1.example.com"][..],
        &["-purpose", "sslserver", "-verify_ip", "10.0.0.7"],
        &["-purpose", "sslclient"],
    ] {
        let (ok, text) = verify("s1.pem", options);
        assert!(ok, "{options:?}: {text}");
    }
    assert!(verify("ci.pem", &["-purpose", "sslclient"]).0);
    assert!(!verify("ci.pem", &["-purpose", "sslserver"]).0);
}
