//! A client that others wrote, when it is installed.

use std::process::Command;

use shoal_http::server::SocketOptions;
use shoal_http::{Limits, Tls};

use super::authority::Authority;
use super::harness::{Site, assert_same};

/// What curl downloads with `arguments`, and the version of HTTP that it used; `None` without curl or without HTTP/2 in it.
async fn curl(arguments: Vec<String>) -> Option<(Vec<u8>, String)> {
    let run = move || {
        let features = Command::new("curl").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&features.stdout).contains("HTTP2") {
            return None;
        }
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "30", "--noproxy", "*"])
            .args(["--write-out", "%{stderr}%{http_version}"])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        Some((output.stdout, text))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_files_by_every_version_plain_and_encrypted() {
    let authority = Authority::new();
    let mut files = authority.server("server");
    files.client_ca = Some(authority.ca());
    files.client_required = true;
    let own = authority.client("curl");
    let secure =
        Site::start(Limits::default(), SocketOptions::default(), Some(Tls::server(files).unwrap())).await;
    let plain = Site::plain(Limits::default()).await;
    let credentials = format!(
        "--cacert {} --cert {} --key {}",
        authority.ca().display(),
        own.certificate.display(),
        own.key.display()
    );
    for (arguments, version) in [
        (format!("--http1.1 http://{}/file", plain.addr), "1.1"),
        (format!("--http2-prior-knowledge http://{}/file", plain.addr), "2"),
        (format!("--http1.1 {credentials} https://localhost:{}/file", secure.addr.port()), "1.1"),
        (format!("--http2 {credentials} https://localhost:{}/file", secure.addr.port()), "2"),
        (format!("--tls-max 1.2 --http2 {credentials} https://localhost:{}/file", secure.addr.port()), "2"),
    ] {
        let Some((body, used)) = curl(words(&arguments)).await else { return };
        assert_same(&body, &plain.paths.content, &arguments);
        assert_eq!(used, version, "{arguments}");
    }
}
