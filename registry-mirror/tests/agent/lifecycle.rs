//! Start, readiness, what the admin port tells, and the stop.

use shoal_api::tracker::AnnounceEvent;
use shoal_oci::Digest;
use tokio::net::TcpStream;

use crate::cluster::{Cluster, PATIENCE, Wish, content, eventually};

#[tokio::test]
async fn ready_when_a_tracker_answers() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.admin("/livez").await.status, 200);
    eventually("ready", async || cluster.admin("/readyz").await.status == 200).await;
    assert_eq!(cluster.admin("/health").await.body, "ok\n");
}

#[tokio::test]
async fn degraded_and_still_ready_without_a_tracker() {
    let unreachable = Wish {
        // Port 1 of this machine refuses connections.
        config: Some(|config| config.server.trackers = vec!["http://127.0.0.1:1".into()]),
        ..Wish::default()
    };
    let cluster = Cluster::start_with(unreachable).await;
    assert_eq!(cluster.admin("/readyz").await.status, 503);
    eventually("ready", async || cluster.admin("/readyz").await.status == 200).await;
    assert_eq!(cluster.admin("/health").await.body, "degraded\n");
}

#[tokio::test]
async fn a_wrong_tracker_address_is_named_and_stays_degraded() {
    let mut cluster = Cluster::start().await;
    eventually("reached", async || cluster.admin("/health").await.body == "ok\n").await;
    cluster.state.lock().unwrap().no_tracker = true;
    // Nothing is announced and nothing asked as long as all is well; the restarted agent asks.
    cluster.restart().await;
    eventually("degraded", async || cluster.admin("/health").await.body == "degraded\n").await;
    let blob = content(100, 9);
    let digest = cluster.push_blob(&blob);
    // The registry still gives it, past the swarm.
    assert!(cluster.get(&format!("/v2/team/app/blobs/{digest}")).await.body == blob);
    let report = String::from_utf8(cluster.admin("/health?verbose=1").await.body.to_vec()).unwrap();
    assert!(report.contains(&cluster.tracker()) && report.contains("404"), "{report}");
    cluster.state.lock().unwrap().no_tracker = false;
    eventually("back", async || cluster.admin("/health").await.body == "ok\n").await;
}

#[tokio::test]
async fn what_is_cached_is_announced_at_start_and_taken_back_at_the_end() {
    let blob = content(100_000, 7);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let digest = Digest::sha256(&blob);
    cluster.push_blob(&blob);
    let announced = |event: AnnounceEvent| {
        let state = cluster.state.lock().unwrap();
        state.announced.iter().any(|item| item.digest == digest && item.event == event)
    };
    eventually("announced", async || announced(AnnounceEvent::Started)).await;
    assert!(cluster.state.lock().unwrap().announced.iter().all(|item| item.complete));
    cluster.shutdown.trigger();
    eventually("taken back", async || announced(AnnounceEvent::Stopped)).await;
    tokio::time::timeout(PATIENCE, cluster.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn status_and_metrics_tell_what_happened() {
    let cluster = Cluster::start().await;
    let blob = content(500_000, 8);
    let digest = cluster.push_blob(&blob);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert!(cluster.get(&path).await.body == blob);
    eventually("cached", async || {
        let status: serde_json::Value = serde_json::from_slice(&cluster.admin("/status").await.body).unwrap();
        assert_eq!(status["program"], "shoal-agent");
        status["cache"]["bytes"] == 500_000
    })
    .await;
    let metrics = String::from_utf8(cluster.admin("/metrics").await.body.to_vec()).unwrap();
    for line in [
        r#"shoal_mirror_requests_total{kind="blob",source="swarm"} 1"#,
        r#"shoal_swarm_received_bytes_total{source="web"} 500000"#,
        "shoal_mirror_sent_bytes_total 500000",
        r#"shoal_build_info{program="shoal-agent""#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert_eq!(cluster.admin("/nothing").await.status, 404);
}

#[test]
fn a_url_in_place_of_the_host_is_refused_by_its_key() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-agent"));
    let output = command.args(["--check-config", "--server", "http://shoal.internal"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("shoal-agent: the configuration has an error:"), "{text}");
    assert!(text.contains("server.host: `http://shoal.internal` is not a host"), "{text}");
}

#[tokio::test]
async fn a_stop_closes_the_ports_and_ends() {
    let cluster = Cluster::start().await;
    let addresses = cluster.agent;
    cluster.shutdown.trigger();
    tokio::time::timeout(PATIENCE, cluster.task).await.unwrap().unwrap();
    for addr in [addresses.registry, addresses.peer, addresses.admin] {
        assert!(TcpStream::connect(addr).await.is_err(), "{addr}");
    }
}

#[tokio::test]
async fn limits_are_changed_at_the_admin_port_while_the_agent_runs() {
    let limited = Wish {
        config: Some(|config| config.limits.upload = Some("5MB/s".parse().unwrap())),
        ..Wish::default()
    };
    let cluster = Cluster::start_with(limited).await;
    let shown =
        async || serde_json::from_slice::<serde_json::Value>(&cluster.admin("/limits").await.body).unwrap();
    assert_eq!(shown().await["upload"], "5MB/s");
    let http = shoal_http::Client::default();
    let put = async |body: &'static str| {
        let url = format!("http://{}/limits", cluster.agent.admin);
        let request = http::Request::builder().method("PUT").uri(url);
        let request =
            request.body(shoal_http::Body::from(bytes::Bytes::from_static(body.as_bytes()))).unwrap();
        http.send(request, PATIENCE).await.unwrap().status().as_u16()
    };
    assert_eq!(put(r#"{"download": "20MB/s", "background": "1MiB/s"}"#).await, 200);
    let now = shown().await;
    assert_eq!((&now["upload"], &now["download"]), (&serde_json::Value::Null, &"20MB/s".into()), "{now}");
    for bad in [r#"{"download": "1kB/s"}"#, r#"{"download": 7}"#, r#"{"speed": "1MB/s"}"#, "x"] {
        assert_eq!(put(bad).await, 400, "{bad}");
    }
    assert_eq!(shown().await, now);
    assert_eq!(put("{}").await, 200);
    assert_eq!(shown().await["download"], serde_json::Value::Null);
}
