"""What is asked of both servers, scene by scene. A scene takes a server and knows nothing of which one it is."""

import time

from realms import PASSWORD, SECRET
from wire import FORM, basic

CC = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def documents(s):
    s.send("discovery", "GET", "/realms/compare/.well-known/openid-configuration")
    s.send("discovery by RFC 8414", "GET", "/realms/compare/.well-known/oauth-authorization-server")
    s.send("certs", "GET", s.path("certs"))
    s.send("realm", "GET", "/realms/compare")
    s.send("unknown realm", "GET", "/realms/nowhere")
    s.send("discovery of an unknown realm", "GET", "/realms/nowhere/.well-known/openid-configuration")
    s.send("token of an unknown realm", "POST", "/realms/nowhere/protocol/openid-connect/token",
           {"Content-Type": FORM}, "grant_type=client_credentials")
    s.send("unknown endpoint", "GET", s.path("nowhere"))
    s.send("unknown endpoint posted to", "POST", s.path("nowhere"), {"Content-Type": FORM}, "a=b")
    s.send("discovery posted to", "POST", "/realms/compare/.well-known/openid-configuration", {"Content-Type": FORM}, "a=b")
    s.send("certs posted to", "POST", s.path("certs"), {"Content-Type": FORM}, "a=b")
    s.send("realm posted to", "POST", "/realms/compare", {"Content-Type": FORM}, "a=b")


def methods(s):
    for endpoint in ("token", "token/introspect", "revoke"):
        for method in ("GET", "PUT", "DELETE"):
            s.send(f"{method} {endpoint}", method, s.path(endpoint))
    for endpoint in ("token", "token/introspect", "revoke", "logout"):
        path = s.path(endpoint)
        mine = {"Authorization": basic("machine")}
        s.send(f"{endpoint} with JSON", "POST", path, {**mine, "Content-Type": "application/json"}, '{"grant_type":"x"}')
        s.send(f"{endpoint} with text", "POST", path, {**mine, "Content-Type": "text/plain"}, "grant_type=x")
        s.send(f"{endpoint} without a type", "POST", path, mine, b"")


def order_of_checks(s):
    s.post("nothing at all", "token", {}, client=None)
    s.token("unknown grant, nobody", "foo", client=None)
    s.token("unknown grant, wrong secret", "foo", client=None, client_id="machine", client_secret="x")
    s.token("grant type in capitals", "CLIENT_CREDENTIALS")
    s.token("empty grant type", "")
    s.token("grant, nobody", CC, client=None)
    s.token("unknown scope, wrong secret", CC, client=None, client_id="machine", client_secret="x", scope="nosuch")
    s.token("no refresh token, wrong secret", "refresh_token", client=None, client_id="machine", client_secret="x")
    s.token("no user, wrong secret", "password", client=None, client_id="machine", client_secret="x")
    twice = [("grant_type", CC), ("scope", "email"), ("scope", "email")]
    s.post("repeated scope", "token", twice)
    s.post("repeated scope, wrong secret", "token", twice + [("client_id", "machine"), ("client_secret", "x")], client=None)
    s.post("repeated scope, nobody", "token", twice, client=None)
    s.post("repeated grant type", "token", [("grant_type", CC), ("grant_type", CC)])
    s.post("two grant types", "token", [("grant_type", CC), ("grant_type", "password")])
    s.post("repeated parameter without a meaning", "token", [("grant_type", CC), ("x", "1"), ("x", "2")])
    s.post("repeated scope, no refresh token", "token", [("grant_type", "refresh_token"), ("scope", "a"), ("scope", "b")])
    s.post("repeated client_id", "token",
           [("grant_type", CC), ("client_id", "machine"), ("client_id", "machine"), ("client_secret", SECRET)], client=None)
    s.send("grant type in the URL", "POST", s.path("token") + "?grant_type=client_credentials",
           {"Content-Type": FORM, "Authorization": basic("machine")}, "")
    s.send("scope in the URL", "POST", s.path("token") + "?scope=nosuch",
           {"Content-Type": FORM, "Authorization": basic("machine")}, "grant_type=client_credentials")


def client_authentication(s):
    def by(name, client_id=None, secret=None, header=None, **more):
        fields = {"client_id": client_id, "client_secret": secret, **more}
        fields = {key: value for key, value in fields.items() if value is not None}
        s.token(name, CC, client=None, headers={"Authorization": header} if header else {}, **fields)

    by("Basic", header=basic("machine"))
    by("form", "machine", SECRET)
    by("Basic and form alike", "machine", SECRET, basic("machine"))
    by("right form, wrong Basic", "machine", SECRET, basic("machine", "x"))
    by("right form, Basic of another", "machine", SECRET, basic("nosuch", "x"))
    by("wrong form, right Basic", "machine", "x", basic("machine"))
    by("client_id beside Basic", "machine", header=basic("machine"))
    by("another client_id beside Basic", "second", header=basic("machine"))
    by("client_secret beside Basic", secret=SECRET, header=basic("machine"))
    by("wrong secret, form", "machine", "x")
    by("wrong secret, Basic", header=basic("machine", "x"))
    by("empty secret, form", "machine", "")
    by("empty secret, Basic", header=basic("machine", ""))
    by("no secret", "machine")
    by("unknown client, form", "nosuch", SECRET)
    by("unknown client, Basic", header=basic("nosuch"))
    by("unknown client, no secret", "nosuch")
    by("disabled client", "disabled", SECRET)
    by("disabled client, wrong secret", "disabled", "x")
    by("empty client_id", "", SECRET)
    by("secret alone", secret=SECRET)
    by("Basic that is not base64", header="Basic ????")
    by("Basic without a colon", header="Basic " + "bWFjaGluZQ==")
    by("Basic of nothing", header="Basic ")
    by("Basic form-encoded", header=basic("m%61chine"))
    by("basic in lower case", header=basic("machine").replace("Basic", "basic"))
    by("Bearer", header="Bearer x")
    by("Digest", header="Digest x")
    by("Bearer beside a right form", "machine", SECRET, "Bearer x")


def client_assertions(s):
    def by(name, **fields):
        s.token(name, CC, client=None, **fields)

    by("assertion that is none", client_assertion_type=JWT_BEARER, client_assertion="x")
    by("assertion of three parts", client_assertion_type=JWT_BEARER, client_assertion="a.b.c")
    by("assertion without a type", client_assertion="x")
    by("type without an assertion", client_assertion_type=JWT_BEARER)
    by("assertion of another type", client_assertion_type="x", client_assertion="x")
    by("assertion beside a client_id", client_assertion_type=JWT_BEARER, client_assertion="x", client_id="machine")


def client_credentials(s):
    s.token("with a refresh token", CC)
    s.token("without a refresh token", CC, client="plain")
    s.token("openid", CC, client="plain", scope="openid")
    s.token("openid with a refresh token", CC, scope="openid")
    s.token("default scope asked for", CC, client="plain", scope="email")
    s.token("optional scope", CC, client="plain", scope="phone")
    s.token("openid and optional", CC, client="plain", scope="openid phone")
    s.token("empty scope", CC, client="plain", scope="")
    s.token("blank scope", CC, client="plain", scope="  ")
    s.token("repeated scope token", CC, client="plain", scope="phone phone")
    s.token("unknown scope", CC, scope="nosuch")
    s.token("known and unknown scope", CC, scope="email nosuch")
    s.token("openid and unknown scope", CC, scope="openid nosuch")
    s.token("two unknown scopes", CC, scope="nosuch nowhere")
    s.token("scope with a quote", CC, scope='a"b')
    s.token("scope in capitals", CC, scope="EMAIL")
    s.token("no service account", CC, client="nothing")
    s.token("no service account, unknown scope", CC, client="nothing", scope="nosuch")
    s.token("parameters of other grants", CC, client="plain", username="", password="", code="", refresh_token="x")


def password(s):
    ada = {"username": "ada", "password": PASSWORD}
    s.token("password", "password", **ada)
    s.token("password with openid", "password", **ada, scope="openid")
    s.token("password, optional scope", "password", **ada, scope="phone")
    s.token("password, unknown scope", "password", **ada, scope="nosuch")
    s.token("wrong password, unknown scope", "password", username="ada", password="x", scope="nosuch")
    s.token("wrong password", "password", username="ada", password="x")
    s.token("unknown user", "password", username="nobody", password="x")
    s.token("disabled user", "password", username="gone", password=PASSWORD)
    s.token("disabled user, wrong password", "password", username="gone", password="x")
    s.token("no username", "password", password=PASSWORD)
    s.token("empty username", "password", username="", password=PASSWORD)
    s.token("no password", "password", username="ada")
    s.token("empty password", "password", username="ada", password="")
    s.token("neither", "password")
    s.token("client without this grant", "password", client="plain", **ada)
    s.token("client without this grant, neither", "password", client="plain")


def refresh(s):
    first = s.token(None, CC)
    old = first.get("refresh_token")
    again = s.token("refresh", "refresh_token", refresh_token=old)
    s.token("refresh with the new one", "refresh_token", refresh_token=again.get("refresh_token"))
    s.token("refresh with the old one", "refresh_token", refresh_token=old)
    s.token("no refresh token", "refresh_token")
    s.token("empty refresh token", "refresh_token", refresh_token="")
    s.token("garbage", "refresh_token", refresh_token="x")
    s.token("three parts of garbage", "refresh_token", refresh_token="a.b.c")
    s.token("an access token", "refresh_token", refresh_token=first.get("access_token"))
    s.token("of another client", "refresh_token", client="second", refresh_token=old)
    s.token("of another client without refresh tokens", "refresh_token", client="plain", refresh_token=old)
    s.token("same scope", "refresh_token", refresh_token=old, scope="email profile")
    s.token("narrower scope", "refresh_token", refresh_token=old, scope="email")
    s.token("wider scope", "refresh_token", refresh_token=old, scope="email phone")
    s.token("unknown scope at a refresh", "refresh_token", refresh_token=old, scope="nosuch")
    s.token("openid at a refresh", "refresh_token", refresh_token=old, scope="openid")
    s.token("empty scope at a refresh", "refresh_token", refresh_token=old, scope="")
    user = s.token(None, "password", username="ada", password=PASSWORD, scope="openid phone")
    s.token("refresh of a user", "refresh_token", refresh_token=user.get("refresh_token"))
    s.token("narrower scope of a user", "refresh_token", refresh_token=user.get("refresh_token"), scope="openid")
    s.post("refresh of nobody", "token", {"grant_type": "refresh_token", "refresh_token": old}, client=None)
    s.post("refresh by client_id alone", "token",
           {"grant_type": "refresh_token", "refresh_token": old, "client_id": "machine"}, client=None)


def rotation(s):
    s.realm = "rotating"

    def rotate(name, token):
        # Keycloak tells an older token from a newer one by the second that it was issued in.
        time.sleep(1.1)
        return s.token(name, "refresh_token", refresh_token=token)

    first = s.token("rotating: first", CC).get("refresh_token")
    second = rotate("rotating: second", first).get("refresh_token")
    third = rotate("rotating: third", second).get("refresh_token")
    fourth = rotate(None, third)
    rotate("rotating: first again", first)
    rotate("rotating: newest after that", fourth.get("refresh_token"))
    s.post("rotating: access token after that", "token/introspect", {"token": fourth.get("access_token")})
    last = s.token(None, CC).get("refresh_token")
    new = rotate(None, last).get("refresh_token")
    s.post("rotating: introspect a used one", "token/introspect", {"token": last})
    s.post("rotating: introspect a new one", "token/introspect", {"token": new})
    rotate("rotating: used one again", last)
    rotate("rotating: its successor after that", new)


def lifetimes(s):
    s.realm = "brief"
    given = s.token(None, CC, scope="openid")
    # They live for one second and for two.
    time.sleep(3.1)
    s.token("expired refresh token", "refresh_token", refresh_token=given.get("refresh_token"))
    s.post("expired access token introspected", "token/introspect", {"token": given.get("access_token")})
    s.post("expired refresh token introspected", "token/introspect", {"token": given.get("refresh_token")})
    s.post("expired access token revoked", "revoke", {"token": given.get("access_token")})
    s.post("expired refresh token revoked", "revoke", {"token": given.get("refresh_token")})
    s.post("expired refresh token logged out", "logout", {"refresh_token": given.get("refresh_token")})
    bearer(s, "expired access token at userinfo", given.get("access_token"))


def introspection(s):
    def ask(name, token, client="machine", **more):
        return s.post(name, "token/introspect", {"token": token, **more}, client)

    given = s.token(None, CC)
    user = s.token(None, "password", username="ada", password=PASSWORD, scope="openid")
    ask("introspect access", given.get("access_token"))
    ask("introspect access with a hint", given.get("access_token"), token_type_hint="access_token")
    ask("introspect access with a wrong hint", given.get("access_token"), token_type_hint="refresh_token")
    ask("introspect access with an unknown hint", given.get("access_token"), token_type_hint="nonsense")
    ask("introspect access, another client", given.get("access_token"), client="plain")
    ask("introspect access without refresh", s.token(None, CC, client="plain").get("access_token"))
    ask("introspect refresh", given.get("refresh_token"))
    ask("introspect refresh with a hint", given.get("refresh_token"), token_type_hint="refresh_token")
    ask("introspect refresh, another client", given.get("refresh_token"), client="plain")
    ask("introspect access of a user", user.get("access_token"))
    ask("introspect refresh of a user", user.get("refresh_token"))
    ask("introspect an ID token", user.get("id_token"))
    ask("introspect garbage", "x")
    ask("introspect three parts of garbage", "a.b.c")
    ask("introspect an empty token", "")
    s.post("introspect nothing", "token/introspect", {})
    s.post("introspect twice", "token/introspect", [("token", "x"), ("token", "x")])
    s.post("introspect nothing, nobody", "token/introspect", {}, client=None)
    ask("introspect, nobody", "x", client=None)
    ask("introspect, wrong secret", "x", client=None, client_id="machine", client_secret="x")
    ask("introspect, unknown client", "x", client=None, client_id="nosuch", client_secret="x")
    ask("introspect, disabled client", "x", client="disabled")
    s.realm = "rotating"
    ask("introspect a token of another realm", given.get("access_token"))


def revocation(s):
    def revoke(name, token, client="machine", **more):
        return s.post(name, "revoke", {"token": token, **more}, client)

    def introspect(name, token):
        return s.post(name, "token/introspect", {"token": token})

    given = s.token(None, CC)
    access, refresh_token = given.get("access_token"), given.get("refresh_token")
    s.post("revoke nothing", "revoke", {})
    revoke("revoke an empty token", "")
    revoke("revoke garbage", "x")
    revoke("revoke three parts of garbage", "a.b.c")
    revoke("revoke access of another", access, client="second")
    revoke("revoke refresh of another", refresh_token, client="second")
    revoke("revoke, nobody", access, client=None)
    revoke("revoke, wrong secret", access, client=None, client_id="machine", client_secret="x")
    revoke("revoke, unknown client", access, client=None, client_id="nosuch", client_secret="x")
    s.post("revoke twice in one", "revoke", [("token", "x"), ("token", "x")])
    revoke("revoke access", access)
    introspect("access after its revocation", access)
    introspect("refresh after the revocation of access", refresh_token)
    revoke("revoke access again", access)
    given = s.token(None, CC)
    revoke("revoke refresh", given.get("refresh_token"))
    introspect("access after the revocation of refresh", given.get("access_token"))
    introspect("refresh after its revocation", given.get("refresh_token"))
    s.token("refresh after the revocation", "refresh_token", refresh_token=given.get("refresh_token"))
    revoke("revoke refresh again", given.get("refresh_token"))
    revoke("revoke access after refresh", given.get("access_token"))
    given = s.token(None, CC)
    revoke("revoke with a hint", given.get("access_token"), token_type_hint="access_token")
    revoke("revoke with a wrong hint", given.get("refresh_token"), token_type_hint="access_token")
    user = s.token(None, "password", username="ada", password=PASSWORD, scope="openid")
    revoke("revoke an ID token", user.get("id_token"))


def logout(s):
    def end(name, token, client="machine", **more):
        return s.post(name, "logout", {"refresh_token": token, **more}, client)

    given = s.token(None, CC, scope="openid")
    token = given.get("refresh_token")
    s.post("log out nothing", "logout", {})
    end("log out an empty token", "")
    end("log out garbage", "x")
    end("log out an access token", given.get("access_token"))
    end("log out, another client", token, client="second")
    end("log out, nobody", token, client=None)
    end("log out, wrong secret", token, client=None, client_id="machine", client_secret="x")
    end("log out, unknown client", token, client=None, client_id="nosuch", client_secret="x")
    end("log out", token)
    s.token("refresh after the logout", "refresh_token", refresh_token=token)
    s.post("access after the logout", "token/introspect", {"token": given.get("access_token")})
    bearer(s, "userinfo after the logout", given.get("access_token"))
    end("log out again", token)


def bearer(s, name, token, method="GET", scheme="Bearer"):
    return s.send(name, method, s.path("userinfo"), {"Authorization": f"{scheme} {token}"})


def userinfo(s):
    def post(name, fields, **headers):
        return s.post(name, "userinfo", fields, client=None, headers=headers)

    user = s.token(None, "password", username="ada", password=PASSWORD, scope="openid")
    token = user.get("access_token")
    bearer(s, "userinfo of a user", token)
    bearer(s, "userinfo of a user, posted", token, method="POST")
    post("userinfo by form", {"access_token": token})
    post("userinfo by form and header", {"access_token": token}, Authorization=f"Bearer {token}")
    post("userinfo by form twice", [("access_token", token), ("access_token", token)])
    post("userinfo by an empty form", {})
    post("userinfo by an empty parameter", {"access_token": ""})
    post("userinfo by garbage in a form", {"access_token": "x"})
    s.send("userinfo by the URL", "GET", s.path("userinfo") + f"?access_token={token}")
    s.send("userinfo by JSON", "POST", s.path("userinfo"), {"Content-Type": "application/json"}, "{}")
    bearer(s, "userinfo with the scheme in lower case", token, scheme="bearer")
    machine = s.token(None, CC, client="plain", scope="openid").get("access_token")
    bearer(s, "userinfo of a machine", machine)
    machine = s.token(None, CC, scope="openid")
    bearer(s, "userinfo of a machine with a refresh token", machine.get("access_token"))
    plain = s.token(None, CC, client="plain").get("access_token")
    bearer(s, "userinfo without openid", plain)
    post("userinfo by form without openid", {"access_token": plain})
    narrow = s.token(None, "password", username="ada", password=PASSWORD, scope="openid phone")
    bearer(s, "userinfo of a wider scope", narrow.get("access_token"))
    again = s.token(None, "refresh_token", refresh_token=user.get("refresh_token"))
    bearer(s, "userinfo after a refresh", again.get("access_token"))
    s.send("userinfo of nobody", "GET", s.path("userinfo"))
    s.send("userinfo of nobody, posted", "POST", s.path("userinfo"))
    bearer(s, "userinfo with garbage", "x")
    bearer(s, "userinfo with three parts of garbage", "a.b.c")
    bearer(s, "userinfo with nothing", "")
    bearer(s, "userinfo with another scheme", token, scheme="Token")
    s.send("userinfo with Basic", "GET", s.path("userinfo"), {"Authorization": basic("machine")})
    bearer(s, "userinfo with a refresh token", user.get("refresh_token"))
    bearer(s, "userinfo with an ID token", user.get("id_token"))
    for method in ("PUT", "DELETE"):
        s.send(f"{method} userinfo", method, s.path("userinfo"))
    s.post(None, "revoke", {"token": token})
    bearer(s, "userinfo after the revocation", token)
    s.realm = "rotating"
    bearer(s, "userinfo of another realm", again.get("access_token"))


ALL = (
    documents,
    methods,
    order_of_checks,
    client_authentication,
    client_assertions,
    client_credentials,
    password,
    refresh,
    rotation,
    lifetimes,
    introspection,
    revocation,
    logout,
    userinfo,
)
