//! Certificates, keys and authorities that are missing, broken or mixed up, and files that change.

use std::sync::Arc;
use std::time::Duration;

use rcgen::CertificateParams;
use shoal_http::{ClientTls, ClientTlsFiles, Shutdown, Tls, TlsError, TlsFiles};

use super::authority::{Authority, replace};

fn refused(files: TlsFiles) -> String {
    Tls::server(files).unwrap_err().to_string()
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let authority = Authority::new();
    let good = authority.server("server");
    let other = authority.server("other");
    let path = |name: &str, bytes: &[u8]| {
        let path = authority.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let of_key = |key| TlsFiles { key, ..good.clone() };
    let of_certificate = |certificate| TlsFiles { certificate, ..good.clone() };
    let of_ca = |ca| TlsFiles { client_ca: Some(ca), ..good.clone() };
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let half = std::fs::read(&good.certificate).unwrap()[..200].to_vec();
    for (files, name, part) in [
        (of_certificate(authority.path("absent.pem")), "absent.pem", "must exist"),
        (of_certificate(path("empty.pem", b"")), "empty.pem", "the file is empty"),
        (of_certificate(path("der.pem", &[0x30, 0x82, 1, 2])), "der.pem", "DER"),
        (of_certificate(path("text.pem", b"hello")), "text.pem", "BEGIN CERTIFICATE"),
        (of_certificate(good.key.clone()), "server.key", "other sections"),
        (of_certificate(path("broken.pem", broken)), "broken.pem", "issue it again"),
        (of_certificate(path("half.pem", &half)), "half.pem", "BEGIN CERTIFICATE"),
        (of_key(other.key), "other.key", "issued together"),
        (of_key(good.certificate.clone()), "server.pem", "BEGIN PRIVATE KEY"),
        (of_key(path("encrypted.key", encrypted)), "encrypted.key", "openssl pkey"),
        (of_key(authority.path("absent.key")), "absent.key", "readable"),
        (of_ca(authority.path("absent-ca.pem")), "absent-ca.pem", "must exist"),
        (of_ca(path("text-ca.pem", b"hello")), "text-ca.pem", "BEGIN CERTIFICATE"),
        (of_ca(path("broken-ca.pem", broken)), "broken-ca.pem", "CA certificates"),
    ] {
        let error = refused(files);
        assert!(error.contains(name) && error.contains(part), "{name}: {error}");
    }
}

#[test]
fn a_key_never_shows_in_an_error() {
    let authority = Authority::new();
    let good = authority.server("server");
    let key = std::fs::read_to_string(&good.key).unwrap();
    let damaged = key.replace("PRIVATE KEY", "SECRET");
    std::fs::write(&good.key, &damaged).unwrap();
    let error = Tls::server(good).unwrap_err();
    let secret = damaged.lines().nth(1).unwrap();
    assert!(!format!("{error} {error:?}").contains(&secret[..16]));
}

#[test]
fn an_expired_certificate_is_used_with_a_warning() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let own = authority.issue("old", &params);
    let files =
        TlsFiles { certificate: own.certificate, key: own.key, client_ca: None, client_required: false };
    assert!(Tls::server(files).is_ok());
}

#[test]
fn a_client_reports_its_files_and_trusts_the_system_without_a_ca() {
    let authority = Authority::new();
    let absent = ClientTlsFiles { ca: Some(authority.path("absent.pem")), identity: None };
    assert!(matches!(ClientTls::new(absent), Err(TlsError::Read { .. })));
    match ClientTls::new(ClientTlsFiles::default()) {
        Ok(_) | Err(TlsError::NoRoots { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_noticed_and_broken_ones_wait_for_better() {
    let authority = Authority::new();
    let files = authority.server("server");
    let tls = Tls::server(files.clone()).unwrap();
    let shutdown = Shutdown::new();
    let watching = tokio::spawn(tls.clone().watch(shutdown.clone()));
    let in_use = || Arc::clone(tls.acceptor().config());
    let first = in_use();
    let later = || tokio::time::sleep(Duration::from_secs(11));
    later().await;
    assert!(Arc::ptr_eq(&first, &in_use()), "read again without need");
    // A pair arrives in two steps, with a look in between.
    let fresh = authority.server("fresh");
    let (certificate, key) =
        (std::fs::read_to_string(fresh.certificate).unwrap(), std::fs::read_to_string(fresh.key).unwrap());
    std::fs::write(&files.certificate, &certificate[..certificate.len() / 2]).unwrap();
    later().await;
    replace(&files.certificate, &certificate);
    later().await;
    assert!(Arc::ptr_eq(&first, &in_use()), "half a pair is in use");
    replace(&files.key, &key);
    later().await;
    assert!(!Arc::ptr_eq(&first, &in_use()), "the new pair is not in use");
    shutdown.trigger();
    watching.await.unwrap();
}
