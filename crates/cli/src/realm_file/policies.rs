//! The part of a realm file that is about resources, proofs, certificates, other issuers and registration.

use std::time::Duration;

use tokenry_core::grant::is_absolute;
use tokenry_core::jose::JwkSet;
use tokenry_core::realm::{
    CertificatePolicy, DpopPolicy, Profile, RegistrationPolicy, Resource, Trust, TrustedKeys,
    is_name,
};
use tokenry_core::{Particulars, Realm};
use tokenry_server::certificate::Authorities;
use tokenry_server::is_fetchable;

use super::FETCHABLE;
use super::written::{Texts, access, audience, scope, scope_token, texts};
use crate::document::{At, Field, Table, Value};

/// What a realm file says of them.
#[derive(Debug)]
pub(super) struct WrittenPolicies {
    pub(super) profile: Field<Profile>,
    pub(super) several_resources: Field<bool>,
    pub(super) dpop: Field<WrittenDpop>,
    pub(super) certificates: Field<WrittenCertificates>,
    pub(super) resources: Field<Vec<At<WrittenResource>>>,
    pub(super) trusts: Field<Vec<At<WrittenTrust>>>,
    pub(super) registration: Field<WrittenRegistration>,
}

/// `[realm.dpop]`
#[derive(Debug)]
pub(super) struct WrittenDpop {
    required: Field<bool>,
    nonce: Field<bool>,
}

/// `[realm.certificates]`
#[derive(Debug)]
pub(super) struct WrittenCertificates {
    authorities: Texts,
    revocation_lists: Texts,
    origin: Field<String>,
}

/// `[[realm.resources]]`
#[derive(Debug)]
pub(super) struct WrittenResource {
    pub(super) identifier: Field<String>,
    pub(super) scopes: Texts,
    access: Field<Duration>,
}

/// `[[realm.trusts]]`
#[derive(Debug)]
pub(super) struct WrittenTrust {
    pub(super) name: Field<String>,
    pub(super) issuer: Field<String>,
    pub(super) jwks_uri: Field<String>,
    pub(super) jwks: Field<String>,
    audience: Texts,
    pub(super) scopes: Texts,
}

/// `[realm.registration]`
#[derive(Debug)]
pub(super) struct WrittenRegistration {
    pub(super) scope: Texts,
    pub(super) scopes: Texts,
}

/// What few clients have.
#[derive(Debug)]
pub(super) struct WrittenParticulars {
    pub(super) introspects: Texts,
    dpop_bound: Field<bool>,
    certificate_bound: Field<bool>,
    legacy_audience: Field<bool>,
    opaque: Field<bool>,
    jwks_uri: Field<String>,
}

pub(super) fn read(t: &Table<'_>) -> WrittenPolicies {
    WrittenPolicies {
        profile: t.optional("profile", |v| {
            v.choice(&[("standard", Profile::Standard), ("fapi2", Profile::Fapi2)])
        }),
        several_resources: t.optional("several_resources", Value::boolean),
        dpop: t.table("dpop", |t| WrittenDpop {
            required: t.optional("required", Value::boolean),
            nonce: t.optional("nonce", Value::boolean),
        }),
        certificates: t.table("certificates", |t| WrittenCertificates {
            authorities: t.optional("authorities", |v| v.list(authority)),
            revocation_lists: t.optional("revocation_lists", |v| v.list(revocation_list)),
            origin: t.optional("origin", origin),
        }),
        resources: t.tables("resources", |t| WrittenResource {
            identifier: t.required("identifier", resource),
            scopes: t.optional("scopes", |v| v.list(scope_token)),
            access: t.optional("access", access),
        }),
        trusts: t.tables("trusts", |t| WrittenTrust {
            name: t.required("name", |v| v.matching("1 to 100 of `A-Z a-z 0-9 . _ - @`", is_name)),
            issuer: t.required("issuer", foreign_issuer),
            jwks_uri: t.optional("jwks_uri", https),
            jwks: t.optional("jwks", jwks),
            audience: t.optional("audience", |v| v.list(audience)),
            scopes: t.optional("scopes", |v| v.list(scope_token)),
        }),
        registration: t.table("registration", |t| WrittenRegistration {
            scope: t.required("scope", |v| v.list(scope_token)),
            scopes: t.optional("scopes", |v| v.list(scope_token)),
        }),
    }
}

pub(super) fn read_particulars(t: &Table<'_>) -> WrittenParticulars {
    WrittenParticulars {
        introspects: t.optional("introspects", |v| v.list(audience)),
        dpop_bound: t.optional("dpop_bound", Value::boolean),
        certificate_bound: t.optional("certificate_bound", Value::boolean),
        legacy_audience: t.optional("legacy_audience", Value::boolean),
        opaque: t.optional("opaque", Value::boolean),
        jwks_uri: t.optional("jwks_uri", https),
    }
}

fn resource(v: &Value<'_>) -> Option<String> {
    v.matching("an absolute URI without a fragment", |text| is_absolute(text) && audience_len(text))
}

fn audience_len(text: &str) -> bool {
    text.len() <= 500
}

/// A URL from which keys are fetched.
fn https(v: &Value<'_>) -> Option<String> {
    let text = v.text_that(FETCHABLE)?;
    if is_fetchable(text) && audience_len(text) {
        return Some(text.to_owned());
    }
    if text.contains('@') {
        // Not repeated: it may have a password in it.
        v.notes.hidden_error(&v.span(), format!("jwks_uri must be {FETCHABLE}"));
        return None;
    }
    v.must(FETCHABLE, None)
}

fn foreign_issuer(v: &Value<'_>) -> Option<String> {
    v.matching("an https URL, or `spiffe://` and a trust domain", |text| {
        let spiffe = text.strip_prefix("spiffe://");
        let trust_domain = spiffe.is_some_and(|domain| {
            !domain.is_empty()
                && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        });
        audience_len(text) && (trust_domain || (text.starts_with("https://") && is_absolute(text)))
    })
}

fn jwks(v: &Value<'_>) -> Option<String> {
    v.matching("the text of a JWK set of public keys", |text| {
        // A bundle says that its keys are for JWT-SVIDs; whether the issuer is a trust domain is seen where it is used.
        let text = text.as_bytes();
        [JwkSet::parse(text), JwkSet::parse_for(text, "jwt-svid")]
            .into_iter()
            .any(|set| set.is_ok_and(|set| !set.keys().is_empty()))
    })
}

fn origin(v: &Value<'_>) -> Option<String> {
    v.matching("scheme, host and port, such as `https://mtls.example.com:8444`", |text| {
        text.parse::<tokenry_core::realm::Issuer>().is_ok_and(|url| url.path().is_empty())
    })
}

fn authority(v: &Value<'_>) -> Option<String> {
    v.matching("certificates in PEM, from `-----BEGIN CERTIFICATE-----` on", |text| {
        let authorities = vec![text.to_owned()];
        Authorities::read(&CertificatePolicy { authorities, ..CertificatePolicy::default() })
            .is_ok()
    })
}

fn revocation_list(v: &Value<'_>) -> Option<String> {
    v.matching("a complete revocation list in PEM, from `-----BEGIN X509 CRL-----` on", |text| {
        let revocation_lists = vec![text.to_owned()];
        let policy = CertificatePolicy { revocation_lists, ..CertificatePolicy::default() };
        Authorities::read(&policy).is_ok()
    })
}

/// Puts into a realm what is written.
pub(super) fn apply(written: WrittenPolicies, realm: &mut Realm) -> Option<()> {
    realm.profile = written.profile.into_value().unwrap_or_default();
    realm.several_resources = written.several_resources.into_value().unwrap_or_default();
    realm.dpop = written.dpop.into_value().map_or_else(DpopPolicy::default, |dpop| DpopPolicy {
        required: dpop.required.into_value().unwrap_or_default(),
        nonce: dpop.nonce.into_value().unwrap_or_default(),
    });
    realm.certificates = written.certificates.into_value().map(|certificates| CertificatePolicy {
        authorities: texts(certificates.authorities).unwrap_or_default(),
        revocation_lists: texts(certificates.revocation_lists).unwrap_or_default(),
        origin: certificates.origin.into_value(),
    });
    let resources = written.resources.into_value().unwrap_or_default().into_iter();
    let resources = resources.map(|written| {
        Some(Resource {
            identifier: written.value.identifier.into_value()?,
            scopes: scope(written.value.scopes),
            access: written.value.access.into_value(),
        })
    });
    realm.resources = resources.collect::<Option<_>>()?;
    let trusts = written.trusts.into_value().unwrap_or_default().into_iter();
    realm.trusts = trusts.map(|written| trust(written.value)).collect::<Option<_>>()?;
    realm.registration = written.registration.into_value().map(|written| RegistrationPolicy {
        scope: scope(written.scope).unwrap_or_default(),
        scopes: scope(written.scopes).unwrap_or_default(),
    });
    Some(())
}

fn trust(written: WrittenTrust) -> Option<Trust> {
    let keys = match (written.jwks_uri.into_value(), written.jwks.into_value()) {
        (Some(url), _) => TrustedKeys::JwksUri(url),
        (None, Some(set)) => TrustedKeys::Jwks(set),
        (None, None) => TrustedKeys::Discovered,
    };
    Some(Trust {
        name: written.name.into_value()?,
        issuer: written.issuer.into_value()?,
        keys,
        audience: texts(written.audience).unwrap_or_default(),
        scopes: scope(written.scopes).unwrap_or_default(),
    })
}

pub(super) fn particulars(written: WrittenParticulars) -> Option<Box<Particulars>> {
    Particulars {
        introspects: texts(written.introspects).unwrap_or_default(),
        dpop_bound: written.dpop_bound.into_value().unwrap_or_default(),
        certificate_bound: written.certificate_bound.into_value().unwrap_or_default(),
        legacy_audience: written.legacy_audience.into_value().unwrap_or_default(),
        opaque: written.opaque.into_value(),
        jwks_uri: written.jwks_uri.into_value(),
        ..Particulars::default()
    }
    .boxed()
}
