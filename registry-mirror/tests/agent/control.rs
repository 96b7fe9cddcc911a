//! What an operator can have the agent do, and what it tells of pulls.

use bytes::Bytes;
use serde_json::Value;
use shoal_api::tracker::AnnounceEvent;
use shoal_oci::{Digest, media_type};

use crate::cluster::{Cluster, PATIENCE, Wish, answer, content, eventually};

/// An image of three blobs on the server; their digests.
fn push_image(cluster: &Cluster, seed: u64) -> [Digest; 3] {
    let blobs = [content(1000, seed), content(300_000, seed + 1), content(2_000_000, seed + 2)];
    let digests = blobs.each_ref().map(|bytes| cluster.push_blob(bytes));
    let descriptor = |index: usize| serde_json::json!({"mediaType": "application/octet-stream", "digest": digests[index], "size": blobs[index].len()});
    let image = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(0), "layers": [descriptor(1), descriptor(2)],
    });
    cluster.push("team/app:v1", &image.to_string());
    digests
}

async fn admin(cluster: &Cluster, method: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", cluster.agent.admin);
    let request = http::Request::builder().method(method).uri(url).body(shoal_http::Body::empty()).unwrap();
    let answer = answer(shoal_http::Client::default().send(request, PATIENCE).await.unwrap()).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

async fn preheated(cluster: &Cluster, image: &str) -> Value {
    let (status, begun) = admin(cluster, "POST", &format!("/preheat?image={image}")).await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/preheat?id={}", begun["id"]);
    eventually("an end", async || admin(cluster, "GET", &path).await.1[0]["state"] != "running").await;
    admin(cluster, "GET", &path).await.1[0].clone()
}

#[tokio::test]
async fn an_image_is_preheated_with_progress_and_pulled_from_the_cache_then() {
    let mut cluster = Cluster::start().await;
    let digests = push_image(&cluster, 1);
    let job = preheated(&cluster, "r.example.com/team/app:v1").await;
    assert_eq!((&job["state"], &job["size"]), (&"done".into(), &2_301_000.into()), "{job}");
    assert_eq!((&job["bytes"], job["blobs"].as_array().unwrap().len()), (&job["size"], 3));
    cluster.stop_server().await;
    for digest in digests {
        assert_eq!(cluster.get(&format!("/v2/team/app/blobs/{digest}")).await.status, 200);
    }
    let failed = preheated(&cluster, "team/absent:v1").await;
    assert!(
        failed["state"] == "failed" && failed["why"].as_str().unwrap().contains("team/absent:v1"),
        "{failed}"
    );
    for bad in ["/preheat", "/preheat?image=UPPER", "/preheat?digest=sha256:12"] {
        assert_eq!(admin(&cluster, "POST", bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn what_is_pinned_outlives_pressure_eviction_and_a_restart() {
    let mut cluster = Cluster::start_with(Wish {
        config: Some(|config| config.cache.capacity = shoal_config::ByteSize(5_000_000)),
        ..Wish::default()
    })
    .await;
    let digests = push_image(&cluster, 10);
    let (status, pinned) = admin(&cluster, "POST", "/pins?image=team/app:v1").await;
    assert_eq!((status, &pinned["blobs"]), (200, &3.into()), "{pinned}");
    preheated(&cluster, "team/app:v1").await;
    for seed in 20..23 {
        let digest = cluster.push_blob(&content(2_000_000, seed));
        assert_eq!(cluster.get(&format!("/v2/team/app/blobs/{digest}")).await.status, 200);
    }
    cluster.restart().await;
    let (_, evicted) = admin(&cluster, "POST", "/evict?all=true").await;
    assert_eq!(evicted["pinned"], 3, "{evicted}");
    let local = async |cluster: &Cluster| {
        let path = format!("/v2/team/app/blobs/{}", digests[2]);
        cluster.get(&path).await;
        let (_, why) = admin(cluster, "GET", &format!("/why?digest={}&n=1", digests[2])).await;
        why[0]["sources"][0]["source"].clone()
    };
    assert_eq!(local(&cluster).await, "cache");
    assert_eq!(admin(&cluster, "GET", "/pins").await.1["team/app:v1"].as_array().unwrap().len(), 3);
    assert_eq!(admin(&cluster, "DELETE", "/pins?image=team/app:v1").await.0, 200);
    assert_eq!(admin(&cluster, "DELETE", "/pins?image=team/app:v1").await.0, 404);
    let (_, evicted) = admin(&cluster, "POST", "/evict?image=team/app:v1").await;
    assert_eq!((&evicted["evicted"], &evicted["bytes"]), (&3.into(), &2_301_000.into()), "{evicted}");
    assert_ne!(local(&cluster).await, "cache");
}

#[tokio::test]
async fn a_drained_agent_serves_its_machine_and_is_known_to_nobody() {
    let blob = content(100_000, 7);
    let cluster = Cluster::start_with(Wish { cached: vec![blob.clone()], ..Wish::default() }).await;
    let digest = cluster.push_blob(&blob);
    eventually("ready", async || cluster.admin("/readyz").await.status == 200).await;
    assert_eq!(admin(&cluster, "POST", "/drain").await, (200, serde_json::json!({"drained": true})));
    assert_eq!(cluster.admin("/readyz").await.status, 503);
    let last = || {
        let state = cluster.state.lock().unwrap();
        state.announced.iter().rfind(|item| item.digest == digest).unwrap().event
    };
    assert_eq!(last(), AnnounceEvent::Stopped);
    assert!(cluster.get(&format!("/v2/team/app/blobs/{digest}")).await.body == blob);
    assert_eq!(admin(&cluster, "DELETE", "/drain").await.1["drained"], false);
    assert_eq!((last(), cluster.admin("/readyz").await.status), (AnnounceEvent::Started, 200));
}

#[tokio::test]
async fn each_pull_can_be_explained_by_digest_and_by_trace() {
    let cluster = Cluster::start().await;
    let [_, _, layer] = push_image(&cluster, 30);
    let path = format!("/v2/team/app/blobs/{layer}");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let named = cluster.get_with(&path, &[("traceparent", &parent), ("user-agent", "podman/4")]).await;
    assert!(named.header("traceresponse").unwrap().contains(trace));
    let again = cluster.get_with(&path, &[("range", "bytes=5-9")]).await;
    let own = again.header("traceresponse").unwrap().split('-').nth(1).unwrap().to_owned();
    assert_eq!(own.len(), 32);
    let (_, records) = admin(&cluster, "GET", &format!("/why?digest={layer}")).await;
    assert_eq!(records.as_array().unwrap().len(), 2, "{records}");
    let record = &records[1];
    assert_eq!((&record["trace"], &record["client"]), (&trace.into(), &"podman/4".into()));
    assert_eq!((&record["status"], &record["outcome"]), (&200.into(), &"served".into()));
    assert_eq!(
        (&record["sent_bytes"], &record["sources"][0]["source"]),
        (&2_000_000.into(), &"web_seed".into())
    );
    assert_eq!((&records[0]["range"], &records[0]["trace"]), (&"bytes=5-9".into(), &own.into()));
    let (_, by_trace) = admin(&cluster, "GET", &format!("/why?trace={trace}")).await;
    assert_eq!(by_trace.as_array().unwrap().len(), 1);
    let absent = Digest::sha256(b"absent");
    cluster.get(&format!("/v2/team/app/blobs/{absent}")).await;
    let (_, refused) = admin(&cluster, "GET", &format!("/why?digest={absent}")).await;
    assert_eq!((&refused[0]["status"], &refused[0]["outcome"]), (&404.into(), &"refused".into()));
    assert!(refused[0]["events"][0]["what"].as_str().unwrap().contains("no owner"), "{refused}");
    for bad in ["/why?digest=x", "/why?trace=12", "/why?n=x"] {
        assert_eq!(admin(&cluster, "GET", bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn nothing_is_evicted_under_a_slow_reader() {
    let cluster = Cluster::start_with(Wish {
        config: Some(|config| config.cache.capacity = shoal_config::ByteSize(8_000_000)),
        ..Wish::default()
    })
    .await;
    let slow = content(4_000_000, 40);
    let digest = cluster.push_blob(&slow);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(cluster.get(&path).await.status, 200);
    let mut body = cluster.send("GET", &path, &[]).await.into_body();
    let mut received = body.frame_data().await.unwrap().unwrap().to_vec();
    for seed in 41..46 {
        let other = cluster.push_blob(&content(3_000_000, seed));
        assert_eq!(cluster.get(&format!("/v2/team/app/blobs/{other}")).await.status, 200);
        received.extend_from_slice(&body.frame_data().await.unwrap().unwrap());
    }
    assert_eq!(admin(&cluster, "POST", &format!("/evict?digest={digest}")).await.0, 200);
    while let Some(bytes) = body.frame_data().await {
        received.extend_from_slice(&bytes.unwrap());
    }
    assert!(received == slow);
}

#[tokio::test]
async fn a_cache_that_can_take_nothing_passes_blobs_on() {
    let cluster = Cluster::start_with(Wish {
        config: Some(|config| config.cache.capacity = shoal_config::ByteSize(100_000)),
        ..Wish::default()
    })
    .await;
    let blob = content(3_000_000, 50);
    let digest = cluster.push_blob(&blob);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert!(cluster.get(&path).await.body == blob);
    let part = cluster.get_with(&path, &[("range", "bytes=1000000-2500000")]).await;
    assert!(part.status == 206 && part.body == blob.slice(1_000_000..2_500_001));
    let (_, why) = admin(&cluster, "GET", &format!("/why?digest={digest}")).await;
    assert_eq!(why[0]["sources"][0]["source"], "direct", "{why}");
    let status: Value = serde_json::from_slice(&cluster.admin("/status").await.body).unwrap();
    assert_eq!((&status["cache"]["bytes"], &status["cache"]["partial_bytes"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn a_blob_comes_from_the_registry_while_no_tracker_answers() {
    let mut cluster = Cluster::start().await;
    cluster.state.lock().unwrap().no_tracker = true;
    cluster.restart().await;
    eventually("alone", async || cluster.admin("/health").await.body == "degraded\n").await;
    let blob = content(700_000, 60);
    let digest = cluster.push_blob(&blob);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert!(cluster.get(&path).await.body == blob);
    let end = cluster.get_with(&path, &[("range", "bytes=600000-")]).await;
    assert!(end.status == 206 && end.body == blob.slice(600_000..));
    let (_, why) = admin(&cluster, "GET", &format!("/why?digest={digest}")).await;
    assert_eq!(why[0]["sources"][0]["source"], "server", "{why}");
    // A registry that sends other bytes: the client never has all of them.
    let lie = Bytes::from(vec![0; 700_000]);
    cluster.state.lock().unwrap().blobs.insert(Digest::sha256(b"other"), lie);
    let mut body = cluster
        .send("GET", &format!("/v2/team/app/blobs/{}", Digest::sha256(b"other")), &[])
        .await
        .into_body();
    let mut len = 0;
    while let Some(Ok(bytes)) = body.frame_data().await {
        len += bytes.len();
    }
    assert!(len < 700_000, "{len}");
}
