//! What Docker Hub says about the quota that is left: `ratelimit-remaining: 76;w=21600`.

use http::HeaderMap;

/// Manifests that may still be pulled in the present window, if the answer says so.
pub(crate) fn remaining(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get("ratelimit-remaining")?.to_str().ok()?;
    text.split(';').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_with_and_without_its_window() {
        let of = |value: &str| {
            remaining(
                &[("ratelimit-remaining".parse().unwrap(), value.parse().unwrap())].into_iter().collect(),
            )
        };
        assert_eq!(of("76;w=21600"), Some(76));
        assert_eq!(of("0"), Some(0));
        assert_eq!(of("many"), None);
        assert_eq!(remaining(&HeaderMap::new()), None);
    }
}
