//! Client certificates as they come: in TLS handshakes, on real sockets of this machine.

use std::sync::Arc;

use rcgen::{Certificate, KeyPair, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokenry_core::client::Credential;
use tokenry_server::{Limits, Tls};
use tokenry_store::Change;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::{
    authority, authority_below, by_itself, by_subject, params, realm_of, revocation_list,
    self_signed, signed,
};
use crate::house::{client, put_credential};
use crate::socket::{Running, start_of};

const SUBJECT: &str = "CN=billing,O=Example";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// What a client shows of itself, whether it has the key of the certificate or another.
#[derive(Debug)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

fn shown(chain: &[&Certificate], key: &KeyPair) -> Shown {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    let chain = chain.iter().map(|certificate| certificate.der().clone()).collect();
    Shown(Some(Arc::new(CertifiedKey::new(chain, key))))
}

struct Server {
    running: Running,
    certificate: CertificateDer<'static>,
}

/// A server with the client `billing`, that asks for certificates or does not.
async fn server(asks: bool, realm: tokenry_core::Realm, credentials: Vec<Credential>) -> Server {
    let made = rcgen::generate_simple_self_signed(["auth.example".to_owned()]).unwrap();
    let pem = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = if asks { Tls::from_pem_asking } else { Tls::from_pem };
    let tls = tls(pem.0.as_bytes(), pem.1.as_bytes()).unwrap();
    let mut changes = vec![Change::PutRealm(realm), Change::PutClient(client("billing"))];
    changes.extend(credentials.into_iter().map(|one| put_credential("billing", one)));
    let running = start_of(changes, Limits::default(), Some(tls)).await;
    Server { running, certificate: made.cert.der().clone() }
}

impl Server {
    /// The status of a token request; `None` where there was no answer.
    async fn ask(&self, version: &'static SupportedProtocolVersion, shown: Shown) -> Option<u16> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(shown));
        let socket = TcpStream::connect(self.running.address).await.unwrap();
        let name = "auth.example".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, socket).await.ok()?;
        let body = "grant_type=client_credentials&client_id=billing";
        let request = format!(
            "POST /token HTTP/1.1\r\nhost: auth.example\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        // In TLS 1.3 the server's refusal comes after the client's part is done.
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }
}

#[tokio::test]
async fn row_089_any_certificate_shakes_hands_and_the_realm_decides() {
    let (root, unknown) = (authority("root"), authority("root"));
    let (own, own_key) = self_signed();
    let (named, named_key) = signed(&params(), &root);
    let (forged, forged_key) = signed(&params(), &unknown);
    let credentials = vec![by_subject(SUBJECT), by_itself(&own)];
    let server = server(true, realm_of(&[&root], vec![]), credentials).await;
    for version in VERSIONS {
        assert_eq!(server.ask(version, shown(&[&own], &own_key)).await, Some(200));
        assert_eq!(server.ask(version, shown(&[&named], &named_key)).await, Some(200));
        assert_eq!(server.ask(version, shown(&[&forged], &forged_key)).await, Some(401));
        assert_eq!(server.ask(version, Shown(None)).await, Some(401));
    }
}

#[tokio::test]
async fn row_089_a_certificate_without_its_key_is_no_certificate() {
    let (own, _) = self_signed();
    let (_, other_key) = self_signed();
    let server = server(true, realm_of(&[], vec![]), vec![by_itself(&own)]).await;
    for version in VERSIONS {
        assert_eq!(server.ask(version, shown(&[&own], &other_key)).await, None);
    }
}

#[tokio::test]
async fn row_085_row_086_a_chain_with_what_stands_between() {
    let root = authority("root");
    let between = authority_below("between", &root);
    let (own, key) = signed(&params(), &between);
    let good = server(true, realm_of(&[&root], vec![]), vec![by_subject(SUBJECT)]).await;
    let other = vec![by_subject("CN=other,O=Example")];
    let other = server(true, realm_of(&[&root], vec![]), other).await;
    for version in VERSIONS {
        let chain = [&own, between.as_ref()];
        assert_eq!(good.ask(version, shown(&chain, &key)).await, Some(200));
        assert_eq!(good.ask(version, shown(&chain[..1], &key)).await, Some(401));
        assert_eq!(other.ask(version, shown(&chain, &key)).await, Some(401));
    }
}

#[tokio::test]
async fn row_096_an_expired_or_revoked_certificate_shakes_hands_and_gets_nothing() {
    let root = authority("root");
    let mut ended = params();
    (ended.not_before, ended.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let (expired, expired_key) = signed(&ended, &root);
    let mut numbered = params();
    numbered.serial_number = Some(rcgen::SerialNumber::from(8));
    let ((revoked, revoked_key), (good, good_key)) =
        (signed(&params(), &root), signed(&numbered, &root));
    let list = revocation_list(&root, &[7]);
    let server = server(true, realm_of(&[&root], vec![list]), vec![by_subject(SUBJECT)]).await;
    for version in VERSIONS {
        assert_eq!(server.ask(version, shown(&[&good], &good_key)).await, Some(200));
        assert_eq!(server.ask(version, shown(&[&expired], &expired_key)).await, Some(401));
        assert_eq!(server.ask(version, shown(&[&revoked], &revoked_key)).await, Some(401));
    }
}

#[tokio::test]
async fn who_is_not_asked_shows_nothing() {
    let (own, key) = self_signed();
    let server = server(false, realm_of(&[], vec![]), vec![by_itself(&own)]).await;
    for version in VERSIONS {
        assert_eq!(server.ask(version, shown(&[&own], &key)).await, Some(401));
    }
}

#[tokio::test]
async fn a_chain_has_a_limit() {
    let (own, key) = self_signed();
    let server = server(true, realm_of(&[], vec![]), vec![by_itself(&own)]).await;
    let length = own.der().len();
    for version in VERSIONS {
        for (number, status) in [(16 * 1024 / length, Some(200)), (16 * 1024 / length + 1, None)] {
            let chain = vec![&own; number];
            assert_eq!(server.ask(version, shown(&chain, &key)).await, status, "{number}");
        }
    }
}
