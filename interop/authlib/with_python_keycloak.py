"""python-keycloak: Keycloak's paths, parameters that are empty, and `scope=openid` with everything."""

import json
from functools import partial

from keycloak import KeycloakOpenID
from keycloak.exceptions import KeycloakError

from realm import certificate, only, refused, same, thumbprint


def connect(realm, client="service", root="/", **more):
    server, name = realm["issuer"].split("/realms/")
    facts = {"client_id": realm[client]["id"], "client_secret_key": realm[client].get("secret"), **more}
    return KeycloakOpenID(server_url=server + root, realm_name=name, **facts)


def code(error):
    return json.loads(error.response_body)["error"]


def login(realm, password=None):
    one = connect(realm, "teller")
    return one, one.token(realm["user"]["name"], password or realm["user"]["password"])


@only("keycloak")
def discovery(realm):
    same(connect(realm).well_known()["issuer"], realm["issuer"])


@only("keycloak")
def empty_parameters(realm):
    token = connect(realm).token(grant_type="client_credentials")
    same((token["expires_in"], token["scope"]), (300, "openid read"))


@only("keycloak")
def old_paths(realm):
    connect(realm, root="/auth/").token(grant_type="client_credentials")


@only("keycloak")
def odd(realm):
    connect(realm, "odd").token(grant_type="client_credentials")


@only("keycloak")
def wrong_secret(realm):
    one = connect(realm, client_secret_key="wrong")
    request = partial(one.token, grant_type="client_credentials")
    refused(realm, "secret", KeycloakError, request, code)


@only("keycloak")
def scope_of_others(realm):
    request = partial(connect(realm).token, grant_type="client_credentials", scope="admin")
    refused(realm, "scope", KeycloakError, request, code)


@only("keycloak")
def password_gives_an_id_token(realm):
    _, token = login(realm)
    for name in ("access_token", "refresh_token", "id_token", "session_state"):
        same(type(token[name]), str)


@only("keycloak")
def wrong_password(realm):
    refused(realm, "password", KeycloakError, partial(login, realm, "wrong"), code)


@only("keycloak")
def refresh(realm):
    one, first = login(realm)
    one.refresh_token(first["refresh_token"])
    request = partial(one.refresh_token, first["refresh_token"])
    refused(realm, "refresh_token", KeycloakError, request, code)


@only("keycloak")
def decoded(realm):
    one = connect(realm)
    claims = one.decode_token(one.token(grant_type="client_credentials")["access_token"])
    same((claims["azp"], claims["typ"]), (realm["service"]["id"], "Bearer"))


@only("keycloak")
def introspection(realm):
    token = connect(realm).token(grant_type="client_credentials")["access_token"]
    answer = connect(realm, "api").introspect(token)
    same((answer["active"], answer["client_id"]), (True, realm["service"]["id"]))


@only("keycloak")
def for_a_resource(realm):
    token = connect(realm).token(grant_type="client_credentials", scope="read", resource=realm["resource"])
    same(connect(realm).decode_token(token["access_token"], validate=False)["aud"], realm["resource"])


@only("keycloak")
def tls_client_auth(realm):
    one = connect(realm, "holder", cert=certificate(realm["holder"]))
    token = one.token(grant_type="client_credentials", scope="read")["access_token"]
    same(one.decode_token(token)["cnf"], {"x5t#S256": thumbprint(realm["holder"])})
    one = connect(realm, "loner", cert=certificate(realm["loner"]))
    one.token(grant_type="client_credentials", scope="read")


@only("keycloak")
def opaque(realm):
    token = connect(realm, "opaque").token(grant_type="client_credentials", scope="read")["access_token"]
    same(token.count("."), 0)
    answer = connect(realm, "api").introspect(token)
    same((answer["active"], answer["client_id"]), (True, realm["opaque"]["id"]))


@only("keycloak")
def logout(realm):
    one, token = login(realm)
    same(connect(realm, "api").introspect(token["access_token"])["active"], True)
    one.logout(token["refresh_token"])
    same(connect(realm, "api").introspect(token["access_token"]), {"active": False})
    request = partial(one.refresh_token, token["refresh_token"])
    refused(realm, "refresh_token", KeycloakError, request, code)


@only("keycloak")
def public_key(realm):
    if not connect(realm).public_key():
        raise AssertionError("the realm shows no public key")


CASES = [
    ("metadata at Keycloak's place", discovery),
    ("client_credentials with empty parameters and scope=openid", empty_parameters),
    ("client_credentials at the paths with /auth before them", old_paths),
    ("special characters in the form", odd),
    ("a wrong secret is refused", wrong_secret),
    ("a scope of others is refused", scope_of_others),
    ("password with scope=openid gives an ID token", password_gives_an_id_token),
    ("a wrong password is refused", wrong_password),
    ("refresh, and the used refresh token is refused", refresh),
    ("the token is verified with the realm's keys", decoded),
    ("an API introspects a token", introspection),
    ("logout ends the access token", logout),
    ("the realm shows its public key", public_key),
    ("a token for a resource (RFC 8707)", for_a_resource),
    ("tls_client_auth, the token bound to the certificate, and self_signed_tls_client_auth", tls_client_auth),
    ("an API introspects an opaque token", opaque),
]
