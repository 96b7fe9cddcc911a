//! Where a redirect leads: `Location` against the URL that was asked (RFC 3986 §5, as far as registries use it).

use http::Uri;
use http::uri::Parts;

/// The longest `Location`: signed URLs of blob stores have some two kilobytes.
const LEN_MAX: usize = 16 * 1024;

/// The URL that `location` means, seen from `base`. `None` when it is none that can be asked.
pub(crate) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty() || location.len() > LEN_MAX {
        return None;
    }
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(&format!("{}://{rest}", base.scheme_str()?));
    }
    if let Some(path) = location.strip_prefix('/') {
        let mut parts = Parts::default();
        parts.scheme = base.scheme().cloned();
        parts.authority = base.authority().cloned();
        parts.path_and_query = format!("/{path}").parse().ok();
        parts.path_and_query.as_ref()?;
        return Uri::from_parts(parts).ok();
    }
    if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return absolute(location);
    }
    let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
    resolve(base, &format!("{directory}/{location}"))
}

fn absolute(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let known =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    known.then_some(uri)
}

/// Whether two URLs have the same scheme, host and port: what was shown to one may be shown to the other.
pub(crate) fn same_origin(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && crate::dialer::host_and_port(one) == crate::dialer::host_and_port(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(location: &str) -> Option<String> {
        resolve(&"https://r.io:5000/v2/a/blobs/x?y=z".parse().unwrap(), location).map(|uri| uri.to_string())
    }

    #[test]
    fn every_form_of_a_location() {
        assert_eq!(to("https://s3.example/b?sig=1#frag").as_deref(), Some("https://s3.example/b?sig=1"));
        assert_eq!(to("//cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        assert_eq!(to("/other?q=a:b").as_deref(), Some("https://r.io:5000/other?q=a:b"));
        assert_eq!(to("sibling").as_deref(), Some("https://r.io:5000/v2/a/blobs/sibling"));
        let long = format!("/{}", "a".repeat(LEN_MAX));
        for bad in [
            "",
            "file:///etc/passwd",
            "ftp://x/",
            "gopher:x",
            "https://",
            "http://a b/",
            "javascript:1",
            &long,
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let same = |one: &str, other: &str| same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://R.io/a", "https://r.io:443/b"));
        assert!(!same("https://r.io/", "http://r.io/") && !same("https://r.io/", "https://r.io:444/"));
        assert!(!same("https://r.io/", "https://s.r.io/"));
    }
}
