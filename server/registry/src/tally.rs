//! The counters of requests, each looked up once.
//!
//! A family of metrics finds its series by hashing labels under a lock, which on the hottest paths costs as much as finding the
//! manifest. The usual pairs of route and status are kept in a table; what is not in it takes the slow way.

use std::sync::OnceLock;

use shoal_oci::Route;
use shoal_telemetry::{Counter, RegistryMetrics};

/// Routes by number; the last is for paths that name nothing.
const ROUTES: [&str; 11] = [
    "base",
    "catalog",
    "extensions",
    "blob",
    "uploads",
    "upload",
    "manifest",
    "tags",
    "referrers",
    "token",
    "none",
];

/// The statuses that well-behaved clients get to see.
const STATUSES: [u16; 10] = [200, 201, 202, 204, 206, 304, 401, 404, 412, 416];

/// The route of a request, as metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteName(usize);

impl RouteName {
    /// A path that names nothing.
    pub(crate) const NONE: Self = Self(ROUTES.len() - 1);
    /// The token endpoint.
    pub(crate) const TOKEN: Self = Self(ROUTES.len() - 2);

    pub(crate) fn of(route: &Route) -> Self {
        Self(match route {
            Route::Base => 0,
            Route::Catalog => 1,
            Route::Extensions { .. } => 2,
            Route::Blob { .. } => 3,
            Route::Uploads { .. } => 4,
            Route::Upload { .. } => 5,
            Route::Manifest { .. } => 6,
            Route::Tags { .. } => 7,
            Route::Referrers { .. } => 8,
        })
    }

    pub(crate) const fn as_str(self) -> &'static str {
        ROUTES[self.0]
    }
}

/// Counts answered requests by route and status.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: RegistryMetrics,
    cells: [[OnceLock<Counter>; STATUSES.len()]; ROUTES.len()],
}

impl Tally {
    pub(crate) fn new(metrics: RegistryMetrics) -> Self {
        Self { metrics, cells: Default::default() }
    }

    /// Counts one answer.
    pub(crate) fn count(&self, route: RouteName, status: u16) {
        match STATUSES.iter().position(|known| *known == status) {
            Some(index) => {
                let cell = &self.cells[route.0][index];
                cell.get_or_init(|| self.metrics.request_counter(route.as_str(), status)).inc();
            }
            None => self.metrics.request(route.as_str(), status),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_routes() {
        for path in [
            "/v2/",
            "/v2/_catalog",
            "/v2/_oci/ext/discover",
            "/v2/a/blobs/uploads/",
            "/v2/a/blobs/uploads/1",
            "/v2/a/manifests/v1",
            "/v2/a/tags/list",
            &format!("/v2/a/blobs/{}", shoal_oci::Digest::sha256(b"")),
            &format!("/v2/a/referrers/{}", shoal_oci::Digest::sha256(b"")),
        ] {
            let route = Route::parse(path).unwrap();
            assert_eq!(RouteName::of(&route).as_str(), route.as_str());
        }
    }

    #[test]
    fn kept_and_other_statuses_are_counted_alike() {
        let metrics = shoal_telemetry::Metrics::new("test", "0");
        let tally = Tally::new(RegistryMetrics::register(&metrics));
        for status in [200, 200, 418] {
            tally.count(RouteName::NONE, status);
        }
        let text = metrics.encode();
        for line in [r#"{route="none",status="200"} 2"#, r#"{route="none",status="418"} 1"#] {
            assert!(text.contains(line), "{text}");
        }
    }
}
