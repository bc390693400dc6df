//! Client certificates: as DER, and as a proxy writes them into a header.
#![no_main]

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use tokenry_core::certificate::{CertificateName, DistinguishedName, WrittenNames};
use tokenry_server::certificate::{read, read_chain_header, read_header};

fuzz_target!(|data: &[u8]| {
    // As the header's value.
    let _ = read_chain_header(data);
    if let Ok(Some(der)) = read_header(data) {
        from_header(&der);
    }
    // As the certificate, which is the same in every spelling.
    from_header(data);
    if let Some(certificate) = read(data) {
        let text = certificate.subject.to_string();
        let Ok(again) = text.parse::<DistinguishedName>() else {
            // Nobody can be registered by nothing, or by what is longer than a name may be.
            assert!(certificate.subject.is_empty() || text.len() > 1024, "{text}");
            return;
        };
        assert_eq!(again, certificate.subject, "{text}");
        let written = WrittenNames { subject_dn: Some(&text), ..WrittenNames::default() };
        let name = CertificateName::registered(&written).expect("it is one");
        assert!(name.matches(&certificate), "{text}");
    }
});

/// What a header says is what was written into it.
fn from_header(der: &[u8]) {
    let base64 = BASE64_STANDARD.encode(der);
    let rfc = format!(":{base64}:");
    let found = read_header(rfc.as_bytes()).expect("a byte sequence").expect("not empty");
    assert_eq!(*found, *der);
    let chain = read_chain_header(format!("{rfc}, {rfc}").as_bytes()).expect("a list of two");
    assert!(chain.len() == 2 && chain.iter().all(|one| **one == *der));
    assert_eq!(read(&found), read(der));
    if der.is_empty() {
        return;
    }
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let escaped = pem.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    });
    let found = read_header(escaped.as_bytes()).expect("PEM").expect("not empty");
    assert_eq!(*found, *der);
}
