//! What the members of one cluster show each other.

use shoal_oci::Digest;

/// The 32 bytes by which peers of one cluster know each other, from the configured key (empty when there is none). A hash, so
/// that the key itself never travels; both programs must make it alike, so it is made here.
pub fn cluster_key(secret: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(Digest::sha256(format!("shoal cluster key\n{secret}").as_bytes()).as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_without_a_secret_is_fixed() {
        let hex: String = cluster_key("").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, Digest::sha256(b"shoal cluster key\n").to_hex());
        assert_ne!(cluster_key(""), cluster_key("x"));
    }
}
