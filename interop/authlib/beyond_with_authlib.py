"""Authlib, beyond RFC 6749: resources, tokens of others, certificates, opaque tokens, Ed25519, FAPI 2.0."""

from functools import partial

from authlib.common.urls import add_params_to_qs
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import AssertionSession
from authlib.oauth2 import OAuth2Error
from joserfc.jwk import ECKey

from realm import certificate, foreign, only, refused, same, thumbprint
from with_authlib import introspect, metadata, session, signing, verified

CC = "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


# Resources


def for_a_resource(realm):
    token = session(realm).fetch_token(grant_type=CC, resource=realm["resource"])
    same(token["scope"], "read")
    verified(realm, token, "resource")


def unknown_resource(realm):
    request = partial(session(realm).fetch_token, grant_type=CC, resource="https://other.example")
    refused(realm, "resource", OAuthError, request)


# Tokens of others


@only("rfc")
def exchange(realm):
    own = session(realm).fetch_token(grant_type=CC)["access_token"]
    subject = {"subject_token": own, "subject_token_type": ACCESS, "resource": realm["resource"]}
    token = session(realm, "gateway").fetch_token(grant_type=EXCHANGE, **subject)
    same(token["issued_token_type"], ACCESS)
    claims = verified(realm, token, "resource")
    same((claims["sub"], claims["client_id"]), (realm["service"]["id"], realm["gateway"]["id"]))


@only("rfc")
def exchange_of_nothing(realm):
    subject = {"subject_token": "nonsense", "subject_token_type": ACCESS}
    request = partial(session(realm, "gateway").fetch_token, grant_type=EXCHANGE, **subject)
    refused(realm, "subject", OAuthError, request)


def assertion_session(realm, issuer):
    """It knows no client authentication of its own; it is a session of requests, which does."""
    facts = realm[issuer]
    one = AssertionSession(
        metadata(realm)["token_endpoint"],
        facts["issuer"],
        "job-1",
        audience=realm["issuer"],
        key=ECKey.import_key(facts["pem"]),
        header={"alg": "ES256", "kid": facts["kid"]},
    )
    one.auth = (realm["gateway"]["id"], realm["gateway"]["secret"])
    return one


@only("rfc")
def bearer(realm):
    token = assertion_session(realm, "ci").refresh_token()
    same(verified(realm, token)["sub"], "ci:job-1")


@only("rfc")
def bearer_of_nobody(realm):
    # This issuer is trusted to prove clients alone.
    refused(realm, "bearer", OAuth2Error, assertion_session(realm, "cluster").refresh_token)


def pod(realm, subject):
    """A session of a client whose assertion somebody else has signed."""
    assertion = foreign(realm["cluster"], subject, realm["issuer"])

    def prove(client, method, uri, headers, body):
        parameters = {"client_id": client.client_id, "client_assertion_type": ASSERTION, "client_assertion": assertion}
        return uri, headers, add_params_to_qs(body, parameters.items())

    one = session(realm, "pod", token_endpoint_auth_method="federated")
    one.register_client_auth_method(("federated", prove))
    return one


def federated(realm):
    token = pod(realm, realm["pod"]["subject"]).fetch_token(grant_type=CC)
    same(verified(realm, token)["client_id"], realm["pod"]["id"])


def federated_wrongly(realm):
    request = partial(pod(realm, "system:serviceaccount:shop:other").fetch_token, grant_type=CC)
    refused(realm, "assertion", OAuthError, request)


# Certificates


def by_certificate(realm, client, presented, **more):
    one = session(realm, client, token_endpoint_auth_method="none", cert=certificate(realm[presented]), **more)
    return one.fetch_token(grant_type=CC)


def tls_client_auth(realm, **more):
    claims = verified(realm, by_certificate(realm, "holder", "holder", **more))
    same(claims["cnf"], {"x5t#S256": thumbprint(realm["holder"])})


def self_signed(realm):
    by_certificate(realm, "loner", "loner")


def certificate_of_another(realm):
    for client, presented in (("holder", "loner"), ("loner", "holder")):
        refused(realm, "certificate", OAuthError, partial(by_certificate, realm, client, presented))


# Opaque tokens, Ed25519


def opaque(realm):
    token = session(realm, "opaque").fetch_token(grant_type=CC)["access_token"]
    same(token.count("."), 0)
    answer = introspect(realm, token)
    same((answer["active"], answer["client_id"]), (True, realm["opaque"]["id"]))


def ed25519_assertion(realm, algorithm):
    signing(realm, algorithm, realm["issuer"]).fetch_token(grant_type=CC)


def signed_with_eddsa(realm):
    token = session(realm, "edwards").fetch_token(grant_type=CC)
    verified(realm, token, algorithms=["EdDSA"])


# FAPI 2.0, with certificates: it has no DPoP


@only("rfc", "fapi2")
def fapi_by_certificate(realm):
    claims = verified(realm, by_certificate(realm, "holder", "holder"), algorithms=["Ed25519"])
    same(claims["cnf"], {"x5t#S256": thumbprint(realm["holder"])})


def fapi_by_key(realm, algorithm):
    one = signing(realm, algorithm, realm["issuer"], cert=certificate(realm["holder"]))
    claims = verified(realm, one.fetch_token(grant_type=CC), algorithms=["Ed25519"])
    same((claims["client_id"], claims["cnf"]), (realm["signer"]["id"], {"x5t#S256": thumbprint(realm["holder"])}))


CASES = [
    ("a token for a resource (RFC 8707)", for_a_resource),
    ("an unknown resource is refused", unknown_resource),
    ("token exchange, for a resource (RFC 8693)", exchange),
    ("what is no token is not exchanged", exchange_of_nothing),
    ("a token of another issuer is a grant (RFC 7523)", bearer),
    ("a token of an issuer that only proves clients is no grant", bearer_of_nobody),
    ("a client proves itself with the token of a cluster", federated),
    ("the token of another pod is refused", federated_wrongly),
    ("tls_client_auth, and the token is bound to the certificate", tls_client_auth),
    ("the same over httpx2", partial(tls_client_auth, over=OAuth2Client)),
    ("self_signed_tls_client_auth", self_signed),
    ("the certificate of another is refused", certificate_of_another),
    ("an API introspects an opaque token", opaque),
    ("private_key_jwt with EdDSA", partial(ed25519_assertion, algorithm="EdDSA")),
    ("private_key_jwt with Ed25519", partial(ed25519_assertion, algorithm="Ed25519")),
    ("an API verifies a token that is signed with EdDSA", signed_with_eddsa),
    ("FAPI 2.0 with a certificate, and Ed25519 by that name", fapi_by_certificate),
    *(
        (f"FAPI 2.0 with {algorithm}, bound to a certificate", only("rfc", "fapi2")(partial(fapi_by_key, algorithm=algorithm)))
        for algorithm in ("PS256", "ES256", "Ed25519")
    ),
]
