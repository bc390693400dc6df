use http::header::HOST;
use rcgen::{CertifiedIssuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, and a certificate of it for a name.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A TLS server for `as.example` that answers every connection with these bytes. Returns its CA and its address.
async fn server(answer: impl Into<Vec<u8>>) -> (String, SocketAddr) {
    server_for(answer, None).await
}

/// The same, that asks clients for a certificate of an authority.
async fn server_for(
    answer: impl Into<Vec<u8>>,
    clients: Option<&Authority>,
) -> (String, SocketAddr) {
    let ca = Authority::new();
    let (certificate, key) = ca.issue("as.example");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let host = format!("{HOST}: as.example\r\n");
            if String::from_utf8_lossy(&head[..read]).contains(&host) {
                let _ = stream.write_all(&answer).await;
            }
            let _ = stream.shutdown().await;
        }
    });
    (ca.0.pem(), address)
}

fn request(url: &str) -> Request<Bytes> {
    Request::post(url).body(Bytes::from_static(b"a=b")).unwrap()
}

fn trusting(ca: &str, address: SocketAddr) -> HttpTransportBuilder {
    HttpTransport::builder()
        .root_certificates(ca.as_bytes())
        .unwrap()
        .connect_to("AS.example", address)
}

#[tokio::test]
async fn a_name_can_be_pointed_elsewhere_and_stays_what_the_certificate_is_for() {
    let (ca, address) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let transport = trusting(&ca, address).connect_to("other.example", address).build().unwrap();
    let response = transport.send(request("https://as.example/token")).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"{}"[..]));
    // A port in the URL does not matter either.
    transport.send(request("https://other.example:8443/token")).await.unwrap_err();
}

#[tokio::test]
async fn row_268_a_certificate_that_is_not_trusted_is_an_error() {
    let (_, address) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let (other_ca, _) = server("").await;
    let transport = trusting(&other_ca, address).build().unwrap();
    let error = transport.send(request("https://as.example/token")).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn row_268_a_certificate_for_another_name_is_an_error() {
    let (ca, address) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let transport = trusting(&ca, address).connect_to("other.example", address).build().unwrap();
    let error = transport.send(request("https://other.example/token")).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn row_267_a_redirect_comes_back_as_it_is() {
    let answer = "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n";
    let (ca, address) = server(answer).await;
    let transport = trusting(&ca, address).build().unwrap();
    let response = transport.send(request("https://as.example/token")).await.unwrap();
    assert_eq!(response.status().as_u16(), 308);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_an_error() {
    let (ca, address) = server("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n0123456789a").await;
    let transport = trusting(&ca, address).body_limit(10).build().unwrap();
    let error = transport.send(request("https://as.example/token")).await.unwrap_err();
    assert_eq!(error, TransportError::TooLong { limit: 10 });
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let (ca, address) = server("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n012").await;
    let transport = trusting(&ca, address).build().unwrap();
    let error = transport.send(request("https://as.example/token")).await.unwrap_err();
    assert!(matches!(error, TransportError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear() {
    let transport = trusting(&server("").await.0, ([127, 0, 0, 1], 9).into()).build().unwrap();
    assert_eq!(
        transport.send(request("http://as.example/token?secret")).await.unwrap_err(),
        TransportError::InTheClear { url: "http://as.example".to_owned() }
    );
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_read_as_it_arrives_and_no_redirect_is_followed() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    // It breaks off within a chunk.
    let (ca, address) = server(format!("{head}3\r\nabc\r\n2\r\nde\r\nff\r\nfg")).await;
    let transport = trusting(&ca, address).body_limit(1).build().unwrap();
    let response = transport.open(request("https://as.example/feed")).await.unwrap();
    let (mut body, mut read) = (response.into_body(), Vec::new());
    let error = loop {
        match body.next().await {
            Ok(piece) => read.extend(piece.unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!(read, b"abcdefg");
    assert!(matches!(error, TransportError::Broken { .. }), "{error}");

    let (ca, address) = server(format!("{head}3\r\nabc\r\n0\r\n\r\n")).await;
    let transport = trusting(&ca, address).build().unwrap();
    let mut body = transport.open(request("https://as.example/feed")).await.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().as_deref(), Some(&b"abc"[..]));
    assert_eq!(body.next().await.unwrap(), None);

    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n";
    let (ca, address) = server(answer).await;
    let transport = trusting(&ca, address).build().unwrap();
    let response = transport.open(request("https://as.example/feed")).await.unwrap();
    assert_eq!(response.status().as_u16(), 307);
    assert_eq!(
        transport.open(request("http://as.example/feed")).await.map(|_| ()).unwrap_err(),
        TransportError::InTheClear { url: "http://as.example".to_owned() }
    );
    let (other, _) = server("").await;
    let transport = trusting(&other, address).build().unwrap();
    let error = transport.open(request("https://as.example/feed")).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
}

#[test]
fn a_file_without_a_certificate_is_an_error() {
    let error = HttpTransport::builder().root_certificates(b"nothing here").unwrap_err();
    assert_eq!(error.to_string(), "root certificates: no certificate in the PEM text");
}

#[tokio::test]
async fn row_093_a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let clients = Authority::new();
    let (certificate, key) = clients.issue("acme");
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let (ca, address) = server_for(answer, Some(&clients)).await;
    let without = trusting(&ca, address).build().unwrap();
    assert!(!without.has_client_certificate());
    without.send(request("https://as.example/token")).await.unwrap_err();

    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let with = trusting(&ca, address).client_certificate(chain.as_bytes(), key.as_bytes());
    let with = with.unwrap().build().unwrap();
    assert!(with.has_client_certificate());
    let response = with.send(request("https://as.example/token")).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

#[test]
fn a_client_certificate_without_its_key_is_an_error_that_shows_no_key() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("acme");
    let (_, other) = authority.issue("acme");
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let builder = |chain: &str, key: &str| {
        HttpTransport::builder().client_certificate(chain.as_bytes(), key.as_bytes())
    };
    assert_eq!(
        builder("", &key).unwrap_err().to_string(),
        "client certificate: no certificate in the PEM text"
    );
    assert_eq!(
        builder(&chain, &chain).unwrap_err().to_string(),
        "client certificate: no private key in the PEM text"
    );
    let cut = key.replace("-----END", "canary!-----END");
    let error = builder(&chain, &cut).unwrap_err().to_string();
    assert_eq!(error, "client certificate: the private key is not PEM");
    let of_another = builder(&chain, &other.serialize_pem()).unwrap();
    let shown = format!("{of_another:?}");
    assert!(shown.contains("ClientCertificate(..)") && !shown.contains("PRIVATE"), "{shown}");
    let authority = of_another.root_certificates(authority.0.pem().as_bytes()).unwrap();
    assert!(matches!(authority.build().unwrap_err(), ConfigError::Tls(_)));
}
