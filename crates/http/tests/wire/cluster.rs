//! Members of a cluster, and those who are none.

use shoal_http::{ClusterTls, ClusterTlsFiles, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::authority::Authority;

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
