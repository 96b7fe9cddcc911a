//! The role's gate, for what else answers on its listener and is about the same repositories.

use std::net::SocketAddr;

use http::Method;
use http::request::Parts;
use shoal_http::{Body, Request, Response};
use shoal_oci::{Repository, Route};

use crate::error::Refusal;
use crate::{Registry, gate};

impl Registry {
    /// The name of whoever sent the request `head` came with, when they may pull all of `repositories`; else the answer to give, which
    /// is the one that a pull would get. The name is empty when nobody is asked.
    ///
    /// # Errors
    /// The answer to give.
    pub async fn admit_pull(
        &self,
        head: &Parts,
        peer: SocketAddr,
        repositories: &[Repository],
    ) -> Result<String, Response> {
        let mut head = head.clone();
        head.method = Method::GET;
        let request = Request::from_parts(head, Body::empty());
        let mut routes: Vec<Route> =
            repositories.iter().map(|repository| Route::Tags { repository: repository.clone() }).collect();
        if routes.is_empty() {
            // Who asks for nothing still has to say who they are.
            routes.push(Route::Base);
        }
        let mut name = String::new();
        for route in routes {
            let access =
                gate::enter(&self.0, &route, &request, peer).await.map_err(Refusal::into_response)?;
            name = access.name().to_owned();
        }
        Ok(name)
    }
}
