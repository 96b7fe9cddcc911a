//! What a request needs: from route and method to a right. The only table of that kind.

use std::net::IpAddr;

use http::Method;
use shoal_auth::{Action, Decision, Denial, Guard, Origin, Principal, Scope};
use shoal_oci::{Query, Repository, Route};

use crate::error::Refusal;
use crate::methods;

/// A right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To have said who one is, be it with a token for nobody: `/v2/`, where clients find out how to log in.
    Login,
    /// To see the list of repositories.
    Catalog,
    /// Nothing: the method is refused anyway.
    Nothing,
    Pull,
    /// To create or to overwrite; which of them, the transaction finds out.
    Push,
    Delete,
}

impl Need {
    pub(super) fn of(route: &Route, method: &Method, delete_enabled: bool) -> Self {
        if !methods::allowed(route, delete_enabled).contains(method) {
            return Self::Nothing;
        }
        match (route, method.as_str()) {
            (Route::Base | Route::Extensions { repository: None }, _) => Self::Login,
            (Route::Catalog, _) => Self::Catalog,
            // A session is a push that is under way, also for who asks how far it is or gives it up.
            (Route::Uploads { .. } | Route::Upload { .. }, _) => Self::Push,
            (_, "GET" | "HEAD") => Self::Pull,
            (_, "DELETE") => Self::Delete,
            _ => Self::Push,
        }
    }

    /// What a token has to include.
    pub(super) fn scopes(self, route: &Route, query: Option<&str>) -> Vec<Scope> {
        let Some(repository) = route.repository() else {
            return if self == Self::Catalog { vec![Scope::catalog()] } else { Vec::new() };
        };
        let words: &[&str] = match self {
            Self::Pull => &["pull"],
            Self::Push => &["pull", "push"],
            Self::Delete => &["delete"],
            Self::Login | Self::Catalog | Self::Nothing => return Vec::new(),
        };
        let mut scopes = vec![Scope::repository(repository, words)];
        if let (Route::Uploads { .. }, Some(from)) = (route, mounted_from(query))
            && from != *repository
        {
            scopes.push(Scope::repository(&from, &["pull"]));
        }
        scopes
    }

    pub(super) fn decide(self, guard: &Guard, principal: &Principal, route: &Route) -> Decision {
        let of = |action| {
            route.repository().map_or(Decision::Refused, |name| guard.decide(principal, action, name))
        };
        match self {
            Self::Nothing => Decision::Allowed,
            // The token for nobody is what tells a client that it may go on without credentials.
            Self::Login if principal.is_anonymous() && principal.origin != Origin::Token => Decision::Refused,
            Self::Login => Decision::Allowed,
            Self::Catalog => guard.may_list(principal),
            Self::Pull => of(Action::Pull),
            Self::Delete => of(Action::Delete),
            Self::Push => match (of(Action::Create), of(Action::Overwrite)) {
                (Decision::Allowed, _) | (_, Decision::Allowed) => Decision::Allowed,
                (Decision::OutOfScope, _) | (_, Decision::OutOfScope) => Decision::OutOfScope,
                (Decision::Refused, Decision::Refused) => Decision::Refused,
            },
        }
    }

    /// The answer to somebody who is known and has no such right.
    pub(super) fn refusal(self, route: &Route) -> Refusal {
        match self {
            Self::Pull => super::hidden(route),
            _ => super::forbidden(self.as_str(), route.repository()),
        }
    }

    /// The record of a refusal, without who and why.
    pub(super) fn denial<'a>(
        self,
        route: &'a Route,
        reference: Option<&'a str>,
        address: IpAddr,
    ) -> Denial<'a> {
        let repository = route.repository();
        Denial { principal: None, address, action: self.as_str(), repository, reference, reason: "" }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Login | Self::Nothing => "login",
            Self::Catalog => "catalog",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// The repository that a POST wants to mount from. What cannot be read is refused later, by whoever mounts.
fn mounted_from(query: Option<&str>) -> Option<Repository> {
    let query = Query::parse(query).ok()?;
    query.mount().ok()??;
    query.from().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_method_has_its_need() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let (blob, manifest) = (format!("/v2/a/blobs/{digest}"), "/v2/a/manifests/v1".to_owned());
        let referrers = format!("/v2/a/referrers/{digest}");
        for (path, method, need) in [
            ("/v2/", "GET", Need::Login),
            ("/v2/_oci/ext/discover", "GET", Need::Login),
            ("/v2/a/_oci/ext/discover", "GET", Need::Pull),
            ("/v2/_catalog", "GET", Need::Catalog),
            ("/v2/a/tags/list", "HEAD", Need::Pull),
            (referrers.as_str(), "GET", Need::Pull),
            (blob.as_str(), "GET", Need::Pull),
            (blob.as_str(), "HEAD", Need::Pull),
            (blob.as_str(), "DELETE", Need::Delete),
            (blob.as_str(), "PUT", Need::Nothing),
            (manifest.as_str(), "GET", Need::Pull),
            (manifest.as_str(), "PUT", Need::Push),
            (manifest.as_str(), "DELETE", Need::Delete),
            (manifest.as_str(), "PATCH", Need::Nothing),
            ("/v2/a/blobs/uploads/", "POST", Need::Push),
            ("/v2/a/blobs/uploads/", "GET", Need::Nothing),
            ("/v2/a/blobs/uploads/x", "GET", Need::Push),
            ("/v2/a/blobs/uploads/x", "PATCH", Need::Push),
            ("/v2/a/blobs/uploads/x", "PUT", Need::Push),
            ("/v2/a/blobs/uploads/x", "DELETE", Need::Push),
        ] {
            let route = Route::parse(path).unwrap();
            let method: Method = method.parse().unwrap();
            assert_eq!(Need::of(&route, &method, true), need, "{method} {path}");
        }
    }

    #[test]
    fn a_mount_asks_for_both_repositories() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let route = Route::parse("/v2/a/blobs/uploads/").unwrap();
        let scopes = |query: &str| {
            let scopes = Need::Push.scopes(&route, Some(query));
            scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            scopes(&format!("mount={digest}&from=b%2Fc")),
            "repository:a:pull,push repository:b/c:pull"
        );
        assert_eq!(scopes(&format!("mount={digest}&from=a")), "repository:a:pull,push");
        assert_eq!(scopes("from=b"), "repository:a:pull,push");
        assert_eq!(scopes(&format!("mount={digest}&from=B\"")), "repository:a:pull,push");
    }
}
