//! The `Authorization: Basic` header (RFC 7617), read in both of its dialects.
#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libfuzzer_sys::fuzz_target;
use tokenry_core::request::Credentials;

fuzz_target!(|data: &[u8]| {
    // As the header's value, and as what a Basic header says.
    read(data);
    read(format!("Basic {}", BASE64_STANDARD.encode(data)).as_bytes());
});

fn read(header: &[u8]) {
    let Ok(credentials) = Credentials::from_basic(header) else { return };
    let Credentials::Secret { presented, raw } = credentials else {
        panic!("a Basic header without a secret")
    };
    assert!(!presented.client_id.is_empty(), "a client without a name");
    if let Some(raw) = raw {
        assert!(
            !raw.client_id.contains(':'),
            "the name of the raw dialect ends at the first colon"
        );
        let said = format!("{}{}", raw.client_id, raw.secret.expose());
        assert!(said.contains(['%', '+']), "two readings of a text that has only one");
    }

    // Whatever was read must survive being written as RFC 6749 §2.3.1 wants it. A NUL has no such form.
    let (id, secret) = (presented.client_id.as_str(), presented.secret.expose());
    if !id.contains('\0') && !secret.contains('\0') {
        let pair = format!("{}:{}", encode(id), encode(secret));
        let header = format!("bASIC {}", BASE64_STANDARD.encode(pair));
        match Credentials::from_basic(header.as_bytes()) {
            Ok(Credentials::Secret { presented: again, .. }) => assert_eq!(again, presented),
            other => panic!("{presented:?} was read as {other:?}"),
        }
    }
}

/// Encodes all but letters and digits, as the most careful client does.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}
