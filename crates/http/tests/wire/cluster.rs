//! Members of a cluster, and those who are none.

use rcgen::{CertificateParams, SanType};
use shoal_http::server::SocketOptions;
use shoal_http::{Client, ClientOptions, ClusterTls, ClusterTlsFiles, Identity, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::authority::Authority;
use super::harness::{PATIENCE, Site};

fn member(authority: &Authority, shown: Identity) -> ClusterTls {
    let files = ClusterTlsFiles { ca: authority.ca(), certificate: shown.certificate, key: shown.key };
    ClusterTls::new(&files).unwrap()
}

/// Whether a byte gets through each way between a peer that dials and one that is dialled.
async fn talk(dials: &ClusterTls, is_dialled: ClusterTls) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = is_dialled.accept_peer(stream).await?;
        stream.write_u8(stream.get_ref().1.protocol_version().is_some().into()).await?;
        stream.read_u8().await
    });
    let stream = TcpStream::connect(addr).await.unwrap();
    let mut stream = dials.connect_peer(stream, addr).await?;
    stream.write_u8(7).await?;
    assert_eq!(stream.read_u8().await?, 1);
    assert_eq!(server.await.unwrap()?, 7);
    Ok(())
}

#[tokio::test]
async fn peers_of_one_authority_meet_under_addresses_that_no_certificate_names() {
    let authority = Authority::new();
    let (one, other) =
        (member(&authority, authority.client("one")), member(&authority, authority.client("other")));
    talk(&one, other.clone()).await.unwrap();
    talk(&other, one).await.unwrap();
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused_by_either_side() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let member_of_ours = member(&ours, ours.client("one"));
    let stranger = member(&foreign, foreign.client("two"));
    talk(&stranger, member_of_ours.clone()).await.unwrap_err();
    talk(&member_of_ours, stranger).await.unwrap_err();
    // One who trusts us, and whom we do not.
    let shown = foreign.client("three");
    let files = ClusterTlsFiles { ca: ours.ca(), certificate: shown.certificate, key: shown.key };
    let intruder = ClusterTls::new(&files).unwrap();
    talk(&intruder, member_of_ours.clone()).await.unwrap_err();
    talk(&member_of_ours, intruder).await.unwrap_err();
}

fn marked(authority: &Authority, kind: &str, name: &str) -> ClusterTls {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::URI(format!("shoal://{kind}/{name}").try_into().unwrap()));
    member(authority, authority.issue(&format!("{kind}-{name}"), &params))
}

/// Whether an HTTP request of one member to the other's port is answered.
async fn ask(asks: &ClusterTls, is_asked: &ClusterTls) -> bool {
    let site =
        Site::start(Limits::default(), SocketOptions::default(), Some(is_asked.server().clone())).await;
    let client = Client::new(&ClientOptions { tls: Some(asks.client().clone()), ..ClientOptions::default() });
    client.get_bytes(&format!("https://{}/who", site.addr), 1000, PATIENCE).await.is_ok()
}

#[tokio::test]
async fn a_server_is_asked_under_any_address_and_an_agent_never_passes_for_one() {
    let authority = Authority::new();
    let (server, agent) = (marked(&authority, "server", "s1"), marked(&authority, "agent", "a1"));
    assert!(ask(&agent, &server).await);
    assert!(ask(&server, &server).await);
    assert!(!ask(&agent, &agent).await);
    talk(&agent, agent.clone()).await.unwrap();
    talk(&agent, server.clone()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_pushing_does_not_open_the_ports_of_members() {
    let authority = Authority::new();
    let (server, person) = (marked(&authority, "server", "s1"), marked(&authority, "client", "alice"));
    assert!(!ask(&person, &server).await);
    talk(&person, server.clone()).await.unwrap_err();
    talk(&server, person).await.unwrap_err();
}

#[tokio::test]
async fn a_certificate_that_says_nothing_counts_by_its_name() {
    let authority = Authority::new();
    let files = authority.server("named");
    let named = member(&authority, Identity { certificate: files.certificate, key: files.key });
    let nameless = member(&authority, authority.client("elsewhere"));
    assert!(ask(&nameless, &named).await);
    assert!(!ask(&named, &nameless).await);
}
