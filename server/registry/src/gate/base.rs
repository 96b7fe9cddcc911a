//! By which address a client reached us, and from which: for the URL of the token endpoint, and for counting failures.
//!
//! `Host` is what the client itself believes, so sending it back tells it nothing new; it is checked to be a host all the same.
//! `X-Forwarded-*` is believed only from proxies that the operator has named: from anybody else it would send our users'
//! passwords to a place of the sender's choice.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header};
use shoal_auth::Guard;

/// The longest host with port that is sent back: a DNS name has 253 bytes.
const HOST_LEN_MAX: usize = 262;
/// The most proxies in a row that are followed.
const HOPS_MAX: usize = 16;

/// Scheme and host by which the client reached us; only the path is left of it when the client named no host.
pub(super) fn base(headers: &HeaderMap, uri: &Uri, secure: bool, trusted: bool) -> String {
    let forwarded = |name: &str| {
        let value = headers.get(name).filter(|_| trusted)?.to_str().ok()?;
        // The first proxy in a row is the one that the client spoke to.
        value.split(',').next().map(str::trim)
    };
    let secure = match forwarded("x-forwarded-proto") {
        Some(scheme) => scheme.eq_ignore_ascii_case("https"),
        None => secure,
    };
    let host = forwarded("x-forwarded-host")
        .or_else(|| headers.get(header::HOST)?.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
        .filter(|host| is_host(host));
    let scheme = if secure { "https" } else { "http" };
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

/// Where a request came from: the nearest address in the row of proxies that is not one of ours.
pub(super) fn client_address(guard: &Guard, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let mut address = peer;
    let listed = headers.get_all("x-forwarded-for").iter().rev();
    let hops = listed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !guard.trusts(address) {
            break;
        }
        match hop.trim().parse() {
            Ok(before) => address = before,
            Err(_) => break,
        }
    }
    address
}

fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.len() <= HOST_LEN_MAX && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use shoal_auth::Settings;

    use super::*;

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        let mut request = http::Request::builder();
        for (name, value) in given {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().headers().clone()
    }

    fn base(headers: &HeaderMap, secure: bool, trusted: bool) -> String {
        super::base(headers, &Uri::from_static("/v2/"), secure, trusted)
    }

    #[test]
    fn forwarded_headers_count_from_named_proxies_only() {
        let forged = headers(&[
            ("host", "registry.example:5000"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(base(&forged, false, false), "http://registry.example:5000");
        assert_eq!(base(&forged, true, false), "https://registry.example:5000");
        assert_eq!(base(&forged, false, true), "https://evil.example");
    }

    #[test]
    fn what_is_no_host_is_not_sent_back() {
        for host in ["a\"b", "a b", "a/b", "", "a,b", "user@host", "<script>", &"a".repeat(300)] {
            assert_eq!(base(&headers(&[("host", host)]), false, false), "", "{host}");
        }
        assert_eq!(base(&headers(&[]), false, false), "");
        assert_eq!(base(&headers(&[("host", "[::1]:5000")]), false, false), "http://[::1]:5000");
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_proxy() {
        let trusted_proxies = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let guard = Guard::new(Settings { trusted_proxies, ..Settings::default() }, None).unwrap();
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        for (list, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("nonsense", "10.0.0.1"),
            ("10.0.0.2", "10.0.0.2"),
        ] {
            let listed = headers(&[("x-forwarded-for", list)]);
            assert_eq!(client_address(&guard, &listed, proxy), client.parse::<IpAddr>().unwrap(), "{list}");
        }
        let stranger: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(
            client_address(&guard, &headers(&[("x-forwarded-for", "203.0.113.9")]), stranger),
            stranger
        );
    }
}
