//! The ID token (OpenID Connect Core §2) as Keycloak writes it.

use std::net::IpAddr;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokenry_core::Realm;
use tokenry_core::grant::Issue;
use tokenry_core::jose::Algorithm;

use super::{account, described};
use crate::dialect::uuid_text;
use crate::json::Object;

/// Its `sub` is that of the access token: OpenID Connect Core §5.3.2 has clients compare it with the userinfo answer.
pub(in crate::dialect) fn claims(
    realm: &Realm,
    issue: &Issue,
    peer: IpAddr,
    access_token: &str,
) -> String {
    let (subject, username) = account(realm, &issue.subject, &issue.client.id);
    let object = Object::with_capacity(640)
        .number("exp", issue.expires_at.as_secs())
        .number("iat", issue.decided_at.as_secs())
        .string("jti", &format!("id-{}", uuid_text(&issue.jti)))
        .string("iss", realm.issuer.as_str())
        .string("aud", &issue.client.id)
        .string("sub", &subject)
        .string("typ", "ID")
        .string("azp", &issue.client.id)
        .then(|o| match issue.family {
            Some(family) => o.string("sid", &family.to_string()),
            None => o,
        })
        .then(|o| match at_hash(issue.algorithm, access_token) {
            Some(hash) => o.string("at_hash", &hash),
            None => o,
        })
        .string("acr", "1");
    described(object, issue, peer, &username).end()
}

/// OpenID Connect Core §3.1.3.6: the left half of the digest that the signature's algorithm uses.
fn at_hash(algorithm: Algorithm, access_token: &str) -> Option<String> {
    let digest = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &SHA256,
        Algorithm::Es384 => &SHA384,
        Algorithm::EdDsa => &SHA512,
        // The claim is optional, and for others nobody has said what to hash with.
        _ => return None,
    };
    let digest = digest::digest(digest, access_token.as_bytes());
    let (left, _) = digest.as_ref().split_at(digest.as_ref().len() / 2);
    Some(BASE64_URL_SAFE_NO_PAD.encode(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_is_half_of_the_digest_of_the_algorithm() {
        // The access token and the hash of OpenID Connect Core appendix A.3.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(Algorithm::Rs256, token).as_deref(), Some("77QmUPtjPfzWtF2AnpK9RQ"));
        for (algorithm, length) in [(Algorithm::Es384, 32), (Algorithm::EdDsa, 43)] {
            assert_eq!(at_hash(algorithm, token).map(|hash| hash.len()), Some(length));
        }
    }
}
