//! Members of a cluster, known by its authority and by what their certificate says that they are.
//!
//! Members meet under addresses that come and go, and which no certificate names. The authority is the cluster's own, so a certificate
//! of it proves membership; a URI in it (`shoal://server/…`, `shoal://agent/…`, `shoal://client/…`, as `shoalctl ca issue` writes them)
//! says of which kind. So an agent whose key was stolen cannot pretend to be the tracker, and a certificate that lets a person push does
//! not open the ports on which members talk. Certificates of an authority that writes no such URI count by their name alone.
//! Everything else is checked as usual: the chain, the dates, the purpose, the possession of the key.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::{PeerCertificate, TlsError};

/// What a certificate says that its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    Agent,
    Client,
    /// It says nothing: the authority is somebody else's tool.
    Unmarked,
}

impl Kind {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let uris = PeerCertificate::read(certificate).map(|read| read.uris).unwrap_or_default();
        let marked = |prefix: &str| uris.iter().any(|uri| uri.starts_with(prefix));
        // The narrowest first, should a certificate ever say two things.
        if marked("shoal://client/") {
            Self::Client
        } else if marked("shoal://agent/") {
            Self::Agent
        } else if marked("shoal://server/") {
            Self::Server
        } else {
            Self::Unmarked
        }
    }
}

/// Whom a client of the cluster takes for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A server: trackers, origins. Under any name when its certificate says so, else under the name that was dialled.
    Server,
    /// Any member: peers of the swarm.
    Member,
}

/// Verifies the server's side of a connection between members.
#[derive(Debug)]
pub(super) struct Servers {
    inner: Arc<WebPkiServerVerifier>,
    expected: Expected,
}

impl Servers {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        expected: Expected,
    ) -> Result<Self, TlsError> {
        let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let inner = built.map_err(|error| TlsError::Internal(Error::General(error.to_string())))?;
        Ok(Self { inner, expected })
    }

    /// Whether a certificate that is in order is one of those expected, and whether it has to have the name that was dialled.
    const fn judge(&self, kind: Kind) -> Verdict {
        match (self.expected, kind) {
            (_, Kind::Client) | (Expected::Server, Kind::Agent) => Verdict::Refused,
            (Expected::Server, Kind::Unmarked) => Verdict::ByName,
            (Expected::Server, Kind::Server)
            | (Expected::Member, Kind::Server | Kind::Agent | Kind::Unmarked) => Verdict::Accepted,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    ByName,
    Refused,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The name is looked at last, so a certificate that fails there has passed everything else.
        let misnamed = matches!(
            checked,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        if !misnamed && checked.is_err() {
            return checked;
        }
        match self.judge(Kind::of(end_entity)) {
            Verdict::Accepted => Ok(ServerCertVerified::assertion()),
            Verdict::ByName => checked,
            Verdict::Refused => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Verifies the client's side of a connection between members: servers and agents, no mere clients.
#[derive(Debug)]
pub(super) struct Clients(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        match Kind::of(end_entity) {
            Kind::Client => Err(CertificateError::ApplicationVerificationFailure.into()),
            Kind::Server | Kind::Agent | Kind::Unmarked => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
