//! The commands against a real server in this process.

use shoal_http::{Body, Client};
use shoal_oci::Digest;
use shoal_server::{App, Config};

use super::*;
use crate::cli::Output;

struct Fixture {
    _dir: tempfile::TempDir,
    app: App,
    admin: String,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_directory: dir.path().to_owned(), ..Config::default() };
        let any = "127.0.0.1:0".parse().unwrap();
        (config.registry.listen, config.origin.listen, config.origin.peer_listen) = (any, any, any);
        (config.tracker.listen, config.tags.listen, config.admin.listen) = (any, any, any);
        config.store.free_min = shoal_config::ByteSize(0);
        let app = App::start(&config).await.unwrap();
        let admin = format!("http://{}", app.addresses().admin);
        Self { _dir: dir, app, admin }
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Report> {
        ask(&self.admin, arguments).await
    }

    async fn push(&self, repository: &str, tags: &[&str]) -> Digest {
        let (http, base) =
            (Client::default(), format!("http://{}/v2/{repository}", self.app.addresses().registry));
        let send = async |request: http::Request<Body>| {
            let response = http.send(request, server::TIMEOUT).await.unwrap();
            assert_eq!(response.status(), 201, "{:?}", response.into_body().collect(4096).await);
        };
        let layer = Digest::sha256(b"{}");
        let upload =
            http::Request::post(format!("{base}/blobs/uploads/?digest={layer}")).body(Body::from("{}"));
        send(upload.unwrap()).await;
        let descriptor =
            serde_json::json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": layer, "size": 2});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor, "layers": [descriptor],
        });
        for tag in tags {
            let put = http::Request::put(format!("{base}/manifests/{tag}"))
                .header("content-type", "application/vnd.oci.image.manifest.v1+json")
                .body(Body::from(manifest.to_string()));
            send(put.unwrap()).await;
        }
        layer
    }
}

async fn ask(server: &str, arguments: &[&str]) -> anyhow::Result<Report> {
    let all = ["shoalctl", "--server", server].into_iter().chain(arguments.iter().copied());
    run(&Cli::parse_from(all)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_shows_what_the_server_has() {
    let fixture = Fixture::new().await;
    let layer = fixture.push("team/app", &["v1", "v2"]).await;
    let report = fixture.run(&["status"]).await.unwrap();
    assert!(report.complete);
    let table = report.render(Output::Table);
    assert!(table.contains("shoal-server") && table.contains("ok"), "{table}");
    assert_eq!(report.json[0]["status"]["store"]["blobs"], 1);
    let report = fixture.run(&["repositories"]).await.unwrap();
    assert_eq!(report.json, serde_json::json!({"repositories": ["team/app"]}));
    let report = fixture.run(&["tags", "list", "team/app"]).await.unwrap();
    assert_eq!(report.json["tags"], serde_json::json!(["v1", "v2"]));
    let report = fixture.run(&["blob", "stat", &layer.to_string()]).await.unwrap();
    assert_eq!((&report.json["size"], &report.json["piece_count"]), (&2.into(), &1.into()));
    let report = fixture.run(&["swarms"]).await.unwrap();
    assert_eq!((&report.json["swarms"], report.rows.len()), (&0.into(), 0));
    fixture.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_sentence_and_a_failure() {
    let fixture = Fixture::new().await;
    let absent = Digest::sha256(b"absent").to_string();
    for (arguments, sentence) in [
        (vec!["tags", "list", "no/such"], "there is no repository no/such"),
        (vec!["blob", "stat", absent.as_str()], "does not have"),
        (vec!["scrub", "blob", absent.as_str()], "the server refuses: this server does not have"),
        (vec!["quarantine", "forget", absent.as_str()], "is not in quarantine"),
    ] {
        let error = fixture.run(&arguments).await.unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let registry = format!("http://{}", fixture.app.addresses().registry);
    let wrong_port = ask(&registry, &["swarms"]).await.unwrap_err();
    assert!(wrong_port.to_string().contains("admin port"), "{wrong_port}");
    let report = ask(&registry, &["status"]).await.unwrap();
    assert!(!report.complete, "the registry's port says that it is ready, and nothing else");
    assert!(report.render(Output::Table).contains("not an admin port; --server is"));
    let report = fixture.run(&["status", "--agents", &fixture.admin]).await.unwrap();
    assert!(!report.complete && report.render(Output::Table).contains("this is shoal-server; --agents is"));
    let silent = shoal_http::Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap().local_addr();
    let report = fixture.run(&["status", "--agents", &format!("http://{silent}")]).await.unwrap();
    assert!(!report.complete);
    assert!(report.render(Output::Table).contains("cannot connect"));
    fixture.app.shutdown().await;
}
