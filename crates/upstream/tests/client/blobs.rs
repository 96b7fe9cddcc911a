//! Blobs: a connection that breaks costs the rest of nothing.

use std::time::Duration;

use shoal_oci::Digest;
use shoal_upstream::{BlobStream, UpstreamError, UpstreamErrorKind};

use crate::fake::{Asked, Fake, answer, broken, client, repository};

const CONTENT: &[u8] = b"0123456789abcdefghij";

async fn all(mut stream: BlobStream) -> Result<Vec<u8>, UpstreamError> {
    let mut bytes = Vec::new();
    while let Some(next) = stream.next().await? {
        bytes.extend_from_slice(&next);
    }
    Ok(bytes)
}

async fn fetch(fake: &Fake) -> Result<Vec<u8>, UpstreamError> {
    let mut options = fake.options();
    options.timeouts.stall = Duration::from_millis(300);
    let stream = client(options).blob(&repository(), &Digest::sha256(CONTENT), None).await?;
    all(stream).await
}

fn from(asked: &Asked) -> usize {
    let range = asked.header("range").unwrap_or("bytes=0-");
    range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
}

fn part(from: usize, to: usize) -> shoal_http::Response {
    let len = (CONTENT.len() - from).to_string();
    let range = format!("bytes {from}-{}/{}", CONTENT.len() - 1, CONTENT.len());
    let (status, headers) = match from {
        0 => (200, vec![("content-length", len.as_str())]),
        _ => (206, vec![("content-length", len.as_str()), ("content-range", range.as_str())]),
    };
    match to == CONTENT.len() {
        true => answer(status, &headers, CONTENT[from..].to_vec()),
        false => broken(status, &headers, &CONTENT[from..to]),
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_where_it_was() {
    let fake = Fake::start(|asked, _| part(from(asked), (from(asked) + 7).min(CONTENT.len()))).await;
    assert_eq!(fetch(&fake).await.unwrap(), CONTENT);
    let starts: Vec<_> = fake.asked().iter().map(from).collect();
    assert_eq!(starts, [0, 7, 14]);
}

#[tokio::test]
async fn a_registry_without_ranges_sends_everything_once_more() {
    let fake = Fake::start(|_, number| part(0, if number == 0 { 7 } else { CONTENT.len() })).await;
    assert_eq!(fetch(&fake).await.unwrap(), CONTENT);
}

#[tokio::test]
async fn a_stalled_body_is_asked_for_again() {
    let fake = Fake::start(|asked, number| {
        if number > 0 {
            return part(from(asked), CONTENT.len());
        }
        let (sender, body) = shoal_http::Body::channel(1);
        tokio::spawn(async move {
            _ = sender.send(CONTENT[..7].into()).await;
            std::future::pending::<()>().await;
            drop(sender);
        });
        answer(200, &[("content-length", "20")], body)
    })
    .await;
    assert_eq!(fetch(&fake).await.unwrap(), CONTENT);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_failure_in_between_is_survived_and_one_for_ever_is_not() {
    let fake = Fake::start(|asked, number| match number {
        0 => part(0, 7),
        1 | 2 => answer(503, &[], ""),
        _ => part(from(asked), CONTENT.len()),
    })
    .await;
    assert_eq!(fetch(&fake).await.unwrap(), CONTENT);
    let fake = Fake::start(|_, number| if number == 0 { part(0, 7) } else { answer(503, &[], "") }).await;
    assert_eq!(fetch(&fake).await.unwrap_err().kind(), UpstreamErrorKind::Unavailable);
    let fake = Fake::start(|_, number| if number == 0 { part(0, 7) } else { answer(404, &[], "") }).await;
    assert_eq!(fetch(&fake).await.unwrap_err().kind(), UpstreamErrorKind::NotFound);
}

#[tokio::test]
async fn a_short_pause_and_a_falter_are_waited_out_and_a_long_pause_is_not() {
    let fake = Fake::start(|asked, number| match number {
        0 => answer(429, &[("retry-after", "1")], ""),
        1 | 2 => answer(503, &[], ""),
        _ => part(from(asked), CONTENT.len()),
    })
    .await;
    assert_eq!(fetch(&fake).await.unwrap(), CONTENT);
    let fake = Fake::start(|_, _| answer(503, &[], "")).await;
    assert_eq!(fetch(&fake).await.unwrap_err().kind(), UpstreamErrorKind::Unavailable);
    assert_eq!(fake.asked().len(), 3);
    let fake = Fake::start(|_, _| answer(429, &[("retry-after", "60")], "")).await;
    assert!(matches!(fetch(&fake).await.unwrap_err(), UpstreamError::Paused { .. }));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn other_bytes_than_were_asked_for_are_not_taken() {
    let lies: [&[(&str, &str)]; 2] =
        [&[("content-range", "bytes 3-19/20")], &[("content-range", "bytes 7-30/31")]];
    for lie in lies {
        let fake =
            Fake::start(move |_, number| if number == 0 { part(0, 7) } else { answer(206, lie, "x") }).await;
        let error = fetch(&fake).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Invalid { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_size_is_known_beforehand_when_the_registry_says_it() {
    let fake = Fake::start(|_, _| answer(200, &[], CONTENT.to_vec())).await;
    let upstream = fake.client();
    let stream = upstream.blob(&repository(), &Digest::sha256(CONTENT), None).await.unwrap();
    assert_eq!(stream.size(), Some(20));
    assert_eq!(upstream.head_blob(&repository(), &Digest::sha256(CONTENT), None).await.unwrap(), Some(20));
}
