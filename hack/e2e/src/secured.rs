//! A deployment with everything on: TLS at the registry, certificates between members, passwords, a policy, an audit log.
//!
//! Made as docs/operations/tls.md and auth.md tell operators to make one, and by the programs that they name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::cluster::Node;
use crate::programs::{self, Place};
use crate::shoalctl::{self, Authority, Identity};

/// Who may do what: `ci` pushes to `team/**`, the agents pull everything, nobody else does anything.
const POLICY: &str = "[{subjects: [ci], repositories: ['team/**'], actions: [pull, push, delete]}, \
     {subjects: ['certificate:node-1', 'certificate:node-2'], repositories: ['**'], actions: [pull]}]";

/// The deployment: a server and two agents. The agents are dropped, and so killed, before the server.
#[derive(Debug)]
pub struct Secured {
    /// `node-1` and `node-2`.
    pub agents: Vec<Node>,
    /// The server.
    pub server: Node,
    /// Who made all certificates.
    pub authority: Authority,
    /// The server's files.
    pub identity: Identity,
    /// The agents' files.
    pub members: Vec<Identity>,
    directory: TempDir,
}

impl Secured {
    /// Makes the authority, the certificates and the passwords, and starts everything.
    pub fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-secured-").tempdir()?;
        let authority = Authority::new(directory.path())?;
        let ip = machine();
        let hosts = [ip.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
        let hosts = hosts.each_ref().map(String::as_str);
        let identity = authority.issue("server-1", "server", &hosts)?;
        let bin_dir = programs::bin_dir()?;
        let server = Node::server(&bin_dir, server_place(directory.path(), ip, &identity)?)?;
        let mut secured =
            Self { agents: Vec::new(), server, authority, identity, members: Vec::new(), directory };
        for name in ["node-1", "node-2"] {
            let member = secured.authority.issue(name, "agent", &["127.0.0.1"])?;
            let place = secured.agent_place(name, &member)?;
            secured.agents.push(Node::agent(&bin_dir, place, &secured.server)?);
            secured.members.push(member);
        }
        Ok(secured)
    }

    fn agent_place(&self, name: &str, member: &Identity) -> Result<Place> {
        let trackers = format!("[\"https://{}\"]", self.server.listener("tracker")?);
        Ok(Place::loopback(self.directory.path().join(format!("agent-{name}")))
            .with("server.registry", &format!("https://{}", self.host()?))
            .with("server.trackers", &trackers)
            .with("cluster_tls", &member.section()))
    }

    /// The registry as it stands in the names of images.
    pub fn host(&self) -> Result<String> {
        Ok(self.server.listener("registry")?.to_string())
    }

    /// Where everything is; tests put their files here too.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the audit log is.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    /// A directory of its own with the authority, as `/etc/docker/certs.d/HOST` and `--cert-dir` want it.
    pub fn certificate_directory(&self) -> Result<PathBuf> {
        let directory = self.directory.path().join("certs.d");
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(&self.identity.ca, directory.join("ca.crt"))?;
        Ok(directory)
    }
}

fn server_place(directory: &Path, ip: IpAddr, identity: &Identity) -> Result<Place> {
    let htpasswd = directory.join("htpasswd");
    std::fs::write(&htpasswd, shoalctl::password_line("ci")?)?;
    let Identity { ca, certificate, key } = identity;
    let tls = format!(
        "{{certificate: {}, key: {}, client_ca: {}}}",
        certificate.display(),
        key.display(),
        ca.display()
    );
    let auth = format!("{{htpasswd: {}, certificates: true, policy: {POLICY}}}", htpasswd.display());
    Ok(Place::loopback(directory.join("server"))
        .with("registry.listen", &SocketAddr::new(ip, 0).to_string())
        .with("registry.tls", &tls)
        .with("cluster_tls", &identity.section())
        .with("auth", &auth)
        .with("audit.file", &directory.join("audit.log").display().to_string()))
}

/// An address of this machine that is not loopback, so that docker wants the registry's certificate to be in order; loopback when there
/// is none. Nothing is sent to the address that the kernel is asked about, which is one for documents (RFC 5737).
fn machine() -> IpAddr {
    let asked = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr().map(|addr| addr.ip())
    };
    asked().unwrap_or(Ipv4Addr::LOCALHOST.into())
}
