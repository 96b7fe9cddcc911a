//! Requests to the token endpoint: the query of `GET /token` and the form of `POST /token`.
//!
//! GET is Docker's token authentication, POST its OAuth2 variant (distribution, "Oauth2 Token Authentication"), with the token exchange
//! of RFC 8693 for CI systems. What is unknown is ignored, what is contradictory is refused.

use std::fmt;

use shoal_oci::query::percent_decode;

use crate::rejection::Rejection;
use crate::scope::Scope;

/// The most parameters in a request: as many scopes as there may be, and the rest.
const PAIRS_MAX: usize = 128;
/// RFC 8693 §2.1.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A request for a token.
#[derive(Debug)]
pub struct TokenRequest {
    /// For which registry.
    pub service: Option<String>,
    /// For what.
    pub scopes: Vec<Scope>,
    /// Whether a refresh token is wanted too.
    pub offline: bool,
    /// By what the client shows who it is.
    pub grant: Grant,
}

/// By what a client shows who it is. `Debug` shows no secret.
pub enum Grant {
    /// By the `Authorization` header, a certificate, or nothing.
    Request,
    /// By a name and a password in the form.
    Password {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// By a refresh token.
    Refresh(String),
    /// By a token of an external issuer.
    Exchange(String),
}

impl TokenRequest {
    /// Reads the query of a GET.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn from_query(query: Option<&str>) -> Result<Self, Rejection> {
        let pairs = Pairs::parse(query.unwrap_or_default())?;
        let offline = pairs.one("offline_token")?.is_some_and(|value| value == "true" || value == "1");
        pairs.request(offline, Grant::Request)
    }

    /// Reads the form of a POST.
    ///
    /// # Errors
    /// When it cannot be read, or names a grant that is not given here.
    pub fn from_form(form: &str) -> Result<Self, Rejection> {
        let pairs = Pairs::parse(form)?;
        let grant = match pairs.one("grant_type")? {
            Some("password") => {
                Grant::Password { name: pairs.needed("username")?, password: pairs.needed("password")? }
            }
            Some("refresh_token") => Grant::Refresh(pairs.needed("refresh_token")?),
            Some("client_credentials") => match pairs.one("client_secret")? {
                Some(secret) => {
                    Grant::Password { name: pairs.needed("client_id")?, password: secret.to_owned() }
                }
                None => Grant::Request,
            },
            Some(EXCHANGE) => Grant::Exchange(pairs.needed("subject_token")?),
            Some(_) => {
                return Err(Rejection::Malformed(
                    "the grant_type is none of password, refresh_token, client_credentials and token-exchange",
                ));
            }
            None => return Err(Rejection::Malformed("the form has no grant_type")),
        };
        let offline = pairs.one("access_type")? == Some("offline");
        pairs.request(offline, grant)
    }
}

/// Decoded parameters.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn parse(text: &str) -> Result<Self, Rejection> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(Rejection::Malformed("there are too many parameters"));
            }
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            // A plus is a blank in forms, and Go's clients write queries the same way.
            let decode = |text: &str| percent_decode(&text.replace('+', " "));
            let pair = decode(key).zip(decode(value));
            pairs.push(pair.ok_or(Rejection::Malformed("the parameters are not percent-encoded UTF-8"))?);
        }
        Ok(Self(pairs))
    }

    fn all(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn one(&self, key: &'static str) -> Result<Option<&str>, Rejection> {
        let mut values = self.all(key);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(Rejection::Malformed("a parameter is given twice with different values"));
        }
        Ok(first)
    }

    fn needed(&self, key: &'static str) -> Result<String, Rejection> {
        match self.one(key)? {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(Rejection::Malformed("a parameter of this grant_type is missing")),
        }
    }

    fn request(&self, offline: bool, grant: Grant) -> Result<TokenRequest, Rejection> {
        let mut scopes = Vec::new();
        for text in self.all("scope") {
            Scope::parse_into(text, &mut scopes)
                .map_err(|_| Rejection::Malformed("a scope has the form repository:name:pull,push"))?;
        }
        let service = self.one("service")?.filter(|service| !service.is_empty()).map(str::to_owned);
        Ok(TokenRequest { service, scopes, offline, grant })
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("Request"),
            Self::Password { name, .. } => write!(f, "Password({name}, <redacted>)"),
            Self::Refresh(_) => f.write_str("Refresh(<redacted>)"),
            Self::Exchange(_) => f.write_str("Exchange(<redacted>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        // docker login
        let query = "account=alice&client_id=docker&offline_token=true&service=shoal";
        let request = TokenRequest::from_query(Some(query)).unwrap();
        assert!(request.offline && request.scopes.is_empty() && request.service.as_deref() == Some("shoal"));
        // docker push with a mount: several parameters. podman: one with blanks.
        for query in [
            "scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull",
            "scope=repository%3Aa%3Apull%2Cpush+repository%3Ab%3Apull",
            "scope=repository:a:pull,push%20repository:b:pull",
        ] {
            let request = TokenRequest::from_query(Some(query)).unwrap();
            assert_eq!(request.scopes.len(), 2, "{query}");
        }
        // containerd
        let form = "client_id=containerd-client&grant_type=password&password=p%26+%C3%A4&scope=repository%3Aa%3Apull&service=shoal&username=alice";
        let request = TokenRequest::from_form(form).unwrap();
        let Grant::Password { name, password } = request.grant else { panic!() };
        assert_eq!((name.as_str(), password.as_str()), ("alice", "p& ä"));
    }

    #[test]
    fn what_is_refused() {
        for form in [
            "",
            "grant_type=implicit",
            "grant_type=password&username=a",
            "grant_type=password&username=&password=x",
            "grant_type=refresh_token",
            "grant_type=password&grant_type=refresh_token",
            "grant_type=password&username=%FF&password=x",
            "grant_type=password&username=a&password=x&scope=nonsense",
            &"a=b&".repeat(1000),
        ] {
            assert!(matches!(TokenRequest::from_form(form), Err(Rejection::Malformed(_))), "{form}");
        }
        assert!(TokenRequest::from_query(Some(&"scope=repository:a:pull&".repeat(100))).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        for form in [
            "grant_type=password&username=a&password=hunter2",
            "grant_type=refresh_token&refresh_token=hunter2",
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=hunter2",
            "grant_type=client_credentials&client_id=a&client_secret=hunter2",
        ] {
            assert!(!format!("{:?}", TokenRequest::from_form(form).unwrap()).contains("hunter2"));
        }
    }
}
