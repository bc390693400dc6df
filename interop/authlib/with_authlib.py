"""Authlib: Basic raw in Latin-1, assertions for the token endpoint; over requests, and over httpx2."""

from functools import partial

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from realm import GRANTED, pem, refused, same

# What each algorithm signs with, and what the key is registered for.
KEYS = {
    "RS256": (RSAKey, "RS256"),
    "PS256": (RSAKey, "PS256"),
    "ES256": (ECKey, "ES256"),
    "EdDSA": (OKPKey, "EdDSA"),
    "Ed25519": (OKPKey, "EdDSA"),
}


def metadata(realm):
    return requests.get(get_well_known_url(realm["issuer"], external=True), timeout=10).json()


def session(realm, client="service", over=OAuth2Session, **more):
    facts = realm[client]
    options = {"client_secret": facts.get("secret"), "token_endpoint": metadata(realm)["token_endpoint"]}
    return over(facts["id"], **{**options, **more})


def by_post(realm, client, **more):
    return session(realm, client, token_endpoint_auth_method="client_secret_post", **more)


def signing(realm, algorithm, audience, client="signer", **more):
    """A session of a client that has keys; `audience` is whom it addresses its assertions to."""
    kind, registered = KEYS[algorithm]
    key = kind.import_key(pem(realm[client], registered))
    how = {"client_secret": key, "token_endpoint_auth_method": "private_key_jwt", **more}
    one = session(realm, client, **how)
    one.register_client_auth_method(PrivateKeyJWT(audience, alg=algorithm))
    return one


def login(realm):
    one = session(realm, "teller", revocation_endpoint_auth_method="client_secret_post")
    user = realm["user"]
    return one, one.fetch_token(username=user["name"], password=user["password"])


def introspect(realm, token):
    endpoint = metadata(realm)["introspection_endpoint"]
    return session(realm, "api").introspect_token(endpoint, token=token).json()


# Discovery


def discovery(realm):
    for suffix in ("oauth-authorization-server", "openid-configuration"):
        for url in (
            get_well_known_url(realm["issuer"], external=True, suffix=suffix),
            f"{realm['issuer']}/.well-known/{suffix}",
        ):
            same(requests.get(url, timeout=10).json()["issuer"], realm["issuer"])


def metadata_is_conform(realm):
    found = AuthorizationServerMetadata(metadata(realm))
    # It takes an empty list for a missing one. RFC 8414 §2 wants the member; a server for machines has nothing to list.
    for name in set(found.REGISTRY_KEYS) - {"response_types_supported"}:
        getattr(found, f"validate_{name}")()


# Client authentication


def basic(realm, over=OAuth2Session):
    token = session(realm, over=over).fetch_token(grant_type="client_credentials")
    same((token["token_type"], token["expires_in"]), ("Bearer", 300))


def post(realm):
    by_post(realm, "service").fetch_token(grant_type="client_credentials")


def odd_basic(realm, over=OAuth2Session):
    for client in ("odd", "printable"):
        session(realm, client, over=over).fetch_token(grant_type="client_credentials")


def odd_post(realm):
    by_post(realm, "odd").fetch_token(grant_type="client_credentials")


def assertion_for_the_issuer(realm, algorithm):
    signing(realm, algorithm, realm["issuer"]).fetch_token(grant_type="client_credentials")


def assertion_for_the_token_endpoint(realm):
    one = signing(realm, "RS256", metadata(realm)["token_endpoint"])
    request = partial(one.fetch_token, grant_type="client_credentials")
    refused(realm, "assertion", OAuthError, request)


def assertion_for_the_token_endpoint_where_declared(realm):
    for audience in (metadata(realm)["token_endpoint"], realm["issuer"]):
        one = signing(realm, "RS256", audience, client="oldSigner")
        one.fetch_token(grant_type="client_credentials")


def wrong_secret(realm):
    one = session(realm, client_secret="wrong")
    refused(realm, "secret", OAuthError, partial(one.fetch_token, grant_type="client_credentials"))


# Scope


def scope_asked_for(realm):
    token = session(realm, scope="write").fetch_token(grant_type="client_credentials")
    same(token["scope"], GRANTED[realm["dialect"]])


def scope_of_others(realm):
    one = session(realm, scope="admin")
    refused(realm, "scope", OAuthError, partial(one.fetch_token, grant_type="client_credentials"))


# Tokens


def verified(realm, token, audience="audience", algorithms=("ES256", "RS256")):
    """The claims of a token, as an API checks them."""
    keys = KeySet.import_key_set(requests.get(metadata(realm)["jwks_uri"], timeout=10).json())
    claims = jwt.decode(token["access_token"], keys, algorithms=list(algorithms)).claims
    wanted = {name: {"essential": True, "value": realm[fact]} for name, fact in [("iss", "issuer"), ("aud", audience)]}
    jwt.JWTClaimsRegistry(**wanted, exp={"essential": True}).validate(claims)
    return claims


def verified_by_an_api(realm):
    token = session(realm).fetch_token(grant_type="client_credentials")
    same(verified(realm, token)["client_id"], realm["service"]["id"])


def renewed_when_it_has_expired(realm):
    renewed = []
    one = session(realm, grant_type="client_credentials", update_token=lambda token, **_: renewed.append(token))
    one.fetch_token()
    one.token = {**one.token, "expires_at": 1}
    one.ensure_active_token(one.token)
    same(len(renewed), 1)


def password_and_refresh(realm):
    one, first = login(realm)
    old = first["refresh_token"]
    second = one.refresh_token()
    if second["refresh_token"] == old:
        raise AssertionError("the refresh token stayed the same")
    refused(realm, "refresh_token", OAuthError, partial(one.refresh_token, refresh_token=old))


def wrong_password(realm):
    one = session(realm, "teller")
    request = partial(one.fetch_token, username=realm["user"]["name"], password="wrong")
    refused(realm, "password", OAuthError, request)


def introspection(realm):
    token = session(realm).fetch_token(grant_type="client_credentials")["access_token"]
    answer = introspect(realm, token)
    same((answer["active"], answer["client_id"]), (True, realm["service"]["id"]))
    same(introspect(realm, "nonsense"), {"active": False})


def revocation(realm):
    one, token = login(realm)
    same(introspect(realm, token["access_token"])["active"], True)
    answer = one.revoke_token(metadata(realm)["revocation_endpoint"], token=token["refresh_token"])
    same(answer.status_code, 200)
    same(introspect(realm, token["access_token"]), {"active": False})
    refused(realm, "refresh_token", OAuthError, one.refresh_token)


CASES = [
    ("metadata at each of its four places", discovery),
    ("metadata passes its checks", metadata_is_conform),
    ("client_credentials with a secret by Basic", basic),
    ("client_credentials with a secret by Basic, over httpx2", partial(basic, over=OAuth2Client)),
    ("client_credentials with a secret in the form", post),
    ("special characters by Basic, raw in Latin-1", odd_basic),
    ("special characters by Basic, raw, over httpx2", partial(odd_basic, over=OAuth2Client)),
    ("special characters in the form", odd_post),
    ("private_key_jwt for the issuer, with RS256", partial(assertion_for_the_issuer, algorithm="RS256")),
    ("private_key_jwt for the issuer, with ES256", partial(assertion_for_the_issuer, algorithm="ES256")),
    ("private_key_jwt for the token endpoint is refused", assertion_for_the_token_endpoint),
    ("the same is good where the client is declared so", assertion_for_the_token_endpoint_where_declared),
    ("a wrong secret is refused", wrong_secret),
    ("the scope asked for is granted", scope_asked_for),
    ("a scope of others is refused", scope_of_others),
    ("an API fetches the keys and verifies the token", verified_by_an_api),
    ("an expired token is renewed by itself", renewed_when_it_has_expired),
    ("password, refresh, and the used refresh token is refused", password_and_refresh),
    ("a wrong password is refused", wrong_password),
    ("an API introspects a token, and what is none", introspection),
    ("a revoked refresh token ends its access token", revocation),
]
