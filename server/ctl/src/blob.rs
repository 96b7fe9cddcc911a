//! One blob as the origin has it.

use anyhow::{Context, Result};
use serde_json::json;
use shoal_api::OriginClient;
use shoal_oci::Digest;

use crate::output::{Report, bytes};
use crate::server::Server;

/// Size and pieces of a blob.
pub(crate) async fn stat(server: &Server, digest: &Digest) -> Result<Report> {
    let metainfo = OriginClient::new(server.http.clone()).metainfo(server.admin(), digest).await?;
    let metainfo = metainfo.with_context(|| format!("this server does not have {digest}"))?;
    let layout = metainfo.layout();
    let (count, length) = (layout.piece_count(), layout.piece_length.get());
    let root = metainfo.root().context("the blob is still arriving at the server; ask again")?;
    let root: String = root.0.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Report {
        json: json!({
            "digest": digest,
            "size": metainfo.size(),
            "piece_count": count,
            "piece_length": length,
            "blake3": root,
        }),
        columns: vec!["DIGEST", "SIZE", "PIECES", "PIECE LENGTH", "BLAKE3"],
        rows: vec![vec![
            digest.to_string(),
            bytes(metainfo.size()),
            count.to_string(),
            bytes(length.into()),
            root,
        ]],
        complete: true,
    })
}
