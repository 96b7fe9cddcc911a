//! Documents that are no manifests, or mean different things to different clients.

use super::{Case, MARKER, empty, full};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn put(name: &str, media_type: &str, document: impl AsRef<[u8]>) -> Case {
    let headers = format!("Content-Type: {media_type}\r\n");
    let bytes = full(&format!("PUT /v2/a/manifests/{MARKER}"), &headers, document.as_ref());
    Case::new(format!("manifest: {name}"), bytes, &[400])
}

fn image(config: &str, rest: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"layers":[]{rest}}}"#)
}

fn descriptor(digest: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"application/{MARKER}","digest":"{digest}","size":{size}}}"#)
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let known = shoal_oci::Digest::sha256(b"{}").to_string();
    let sized = |size: &str| image(&descriptor(&known, size), "");
    let mut cases = vec![
        put("nothing", IMAGE, ""),
        put("not JSON", IMAGE, MARKER),
        put("null", IMAGE, "null"),
        put("an array", IMAGE, "[]"),
        put("a string", IMAGE, format!("\"{MARKER}\"")),
        put("100000 arrays in one another", IMAGE, "[".repeat(100_000)),
        put("100000 objects in one another", IMAGE, r#"{"a":"#.repeat(100_000)),
        put("bytes that are not UTF-8", IMAGE, [0xff, 0xfe, b'{', b'}']),
        put("an empty object", IMAGE, "{}"),
        put("schema 1", IMAGE, r#"{"schemaVersion":1,"fsLayers":[]}"#),
        put("schema 3", IMAGE, format!(r#"{{"schemaVersion":3,"x":"{MARKER}"}}"#)),
        put("both layers and manifests", IMAGE, image(&descriptor(&known, "2"), r#","manifests":[]"#)),
        put(
            "an index with a config",
            INDEX,
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"config":{}}}"#,
                descriptor(&known, "2")
            ),
        ),
        put("another media type than the header's", INDEX, sized("2")),
        put("a media type that is none", MARKER, sized("2")),
        put("a negative size", IMAGE, sized("-1")),
        put("a size of 2^63", IMAGE, sized("9223372036854775808")),
        put("a size with a fraction", IMAGE, sized("2.5")),
        put("a size as text", IMAGE, sized("\"2\"")),
        put("a size that is not the blob's", IMAGE, sized("3")),
        put("a digest that climbs", IMAGE, image(&descriptor("sha256:../../../etc/passwd", "2"), "")),
        put("a digest of an unknown algorithm", IMAGE, image(&descriptor(&format!("{MARKER}:00"), "2"), "")),
        put("a blob that is not here", IMAGE, image(&descriptor(&empty().to_string(), "0"), "")),
        put(
            "a subject that is no descriptor",
            IMAGE,
            image(&descriptor(&known, "2"), &format!(r#","subject":"{MARKER}""#)),
        ),
        put(
            "annotations that are no map",
            IMAGE,
            image(&descriptor(&known, "2"), &format!(r#","annotations":["{MARKER}"]"#)),
        ),
        put("a key twice", IMAGE, image(&descriptor(&known, "2"), r#","schemaVersion":2"#)),
        put(
            "17000 layers",
            IMAGE,
            format!(
                r#"{{"schemaVersion":2,"config":{0},"layers":[{1}{0}]}}"#,
                descriptor(&known, "2"),
                format!("{},", descriptor(&known, "2")).repeat(17_000)
            ),
        ),
        put(
            "data that is not the blob",
            IMAGE,
            image(&format!(r#"{{"mediaType":"a/b","digest":"{known}","size":2,"data":"W10="}}"#), ""),
        ),
        put(
            "data that is not base64",
            IMAGE,
            image(&format!(r#"{{"mediaType":"a/b","digest":"{known}","size":2,"data":"{MARKER}%"}}"#), ""),
        ),
    ];
    let wrong = full(
        &format!("PUT /v2/a/manifests/{}", empty()),
        &format!("Content-Type: {IMAGE}\r\n"),
        sized("2").as_bytes(),
    );
    cases.push(Case::new("manifest: another digest than the path's", wrong, &[400]));
    let large = full(&format!("PUT /v2/a/manifests/{MARKER}"), "", &vec![b' '; (8 << 20) + 1]);
    cases.push(Case::new("manifest: 8 MiB and a byte", large, &[413]).or_closed());
    cases.push(Case::new(
        "manifest: deleted by a digest that is none",
        super::bare(&format!("DELETE /v2/a/manifests/sha256:{MARKER}")),
        &[400],
    ));
    cases
}
