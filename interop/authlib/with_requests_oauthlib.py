"""requests-oauthlib: Basic raw, the password grant, and a warning where the granted scope is another."""

import warnings
from functools import partial

import requests
from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from realm import certificate, only, refused, same


def endpoint(realm):
    url = f"{realm['issuer']}/.well-known/openid-configuration"
    return requests.get(url, timeout=10).json()["token_endpoint"]


def fetch(realm, client="service", scope=None, **more):
    facts = realm[client]
    one = OAuth2Session(client=BackendApplicationClient(client_id=facts["id"], scope=scope))
    how = {"client_secret": facts["secret"], **more}
    return one.fetch_token(endpoint(realm), **how)


def login(realm, password=None):
    facts, user = realm["teller"], realm["user"]
    one = OAuth2Session(client=LegacyApplicationClient(client_id=facts["id"]))
    token = one.fetch_token(
        endpoint(realm),
        username=user["name"],
        password=password or user["password"],
        client_id=facts["id"],
        client_secret=facts["secret"],
    )
    return one, token


def basic(realm):
    same(fetch(realm)["expires_in"], 300)


def post(realm):
    fetch(realm, include_client_id=True)


def odd_raw(realm):
    for client in ("odd", "printable"):
        fetch(realm, client)


def odd_post(realm):
    fetch(realm, "odd", include_client_id=True)


def wrong_secret(realm):
    refused(realm, "secret", OAuth2Error, partial(fetch, realm, client_secret="wrong"))


def scope_of_others(realm):
    refused(realm, "scope", OAuth2Error, partial(fetch, realm, scope=["admin"]))


def no_warning(realm):
    # It takes a granted scope that differs from the one asked for as a warning, and a warning as an error.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(fetch(realm, scope=["read", "write"])["scope"], ["read", "write"])


@only("rfc")
def openid_is_dropped(realm):
    try:
        fetch(realm, scope=["openid", "read"])
    except Warning as warning:
        same(warning.new_scope, ["read"])
    else:
        raise AssertionError("it was not warned of another scope")


@only("keycloak")
def openid_is_granted(realm):
    same(fetch(realm, scope=["openid", "read"])["scope"], ["openid", "read"])


def for_a_resource(realm):
    same(fetch(realm, resource=realm["resource"])["scope"], ["read"])
    refused(realm, "resource", OAuth2Error, partial(fetch, realm, resource="https://other.example"))


def by_certificate(realm, client, presented):
    one = OAuth2Session(client=BackendApplicationClient(client_id=realm[client]["id"]))
    return one.fetch_token(endpoint(realm), include_client_id=True, cert=certificate(realm[presented]))


def tls_client_auth(realm):
    by_certificate(realm, "holder", "holder")
    by_certificate(realm, "loner", "loner")
    refused(realm, "certificate", OAuth2Error, partial(by_certificate, realm, "holder", "loner"))


def password_and_refresh(realm):
    one, first = login(realm)
    facts = realm["teller"]
    auth = HTTPBasicAuth(facts["id"], facts["secret"])
    refresh = partial(one.refresh_token, endpoint(realm), first["refresh_token"], auth=auth)
    second = refresh()
    if second["refresh_token"] == first["refresh_token"]:
        raise AssertionError("the refresh token stayed the same")
    refused(realm, "refresh_token", OAuth2Error, refresh)


def wrong_password(realm):
    refused(realm, "password", OAuth2Error, partial(login, realm, "wrong"))


CASES = [
    ("client_credentials with a secret by Basic", basic),
    ("client_credentials with a secret in the form", post),
    ("special characters by Basic, raw", odd_raw),
    ("special characters in the form", odd_post),
    ("a wrong secret is refused", wrong_secret),
    ("a scope of others is refused", scope_of_others),
    ("the scope asked for is granted without a warning", no_warning),
    ("openid is dropped, of which it is warned", openid_is_dropped),
    ("openid is granted, as with Keycloak", openid_is_granted),
    ("a token for a resource (RFC 8707), and none for an unknown one", for_a_resource),
    ("tls_client_auth and self_signed_tls_client_auth (RFC 8705)", tls_client_auth),
    ("password, refresh, and the used refresh token is refused", password_and_refresh),
    ("a wrong password is refused", wrong_password),
]
