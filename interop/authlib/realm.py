"""What the cases of all libraries say about a realm."""

import time
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate
from joserfc import jwt
from joserfc.jwk import ECKey

# What each dialect calls what is wrong.
WRONG = {
    "rfc": {
        "secret": "invalid_client",
        "assertion": "invalid_client",
        "scope": "invalid_scope",
        "refresh_token": "invalid_grant",
        "password": "invalid_grant",
        "certificate": "invalid_client",
        "resource": "invalid_target",
        "bearer": "invalid_grant",
        "subject": "invalid_request",
    },
    "keycloak": {
        "secret": "unauthorized_client",
        "assertion": "invalid_client",
        "scope": "invalid_scope",
        "refresh_token": "invalid_grant",
        "password": "invalid_grant",
        "certificate": "invalid_client",
        "resource": "invalid_target",
    },
}


# What `service` is granted that asks for `write`: Keycloak adds what a client has by default.
GRANTED = {"rfc": "write", "keycloak": "read write"}


def only(dialect, profile="standard"):
    """A case that makes sense in one dialect, or in a strict realm."""

    def mark(case):
        case.dialect, case.profile = dialect, profile
        return case

    return mark


def same(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} instead of {expected!r}")


def refused(realm, what, error_class, request, code=lambda error: error.error):
    """That a request is refused for this, and the library says so."""
    try:
        request()
    except error_class as error:
        same(code(error), WRONG[realm["dialect"]][what])
    else:
        raise AssertionError(f"what has a wrong {what} was granted")


def pem(client, algorithm):
    return next(key["pem"] for key in client["keys"] if key["algorithm"] == algorithm)


def foreign(issuer, subject, audience):
    """A token of another issuer."""
    now = int(time.time())
    claims = {"iss": issuer["issuer"], "sub": subject, "aud": audience, "iat": now, "exp": now + 300}
    return jwt.encode({"alg": "ES256", "kid": issuer["kid"]}, claims, ECKey.import_key(issuer["pem"]))


def certificate(client):
    """Certificate and key, as requests wants them."""
    return client["certificate"], client["key"]


def thumbprint(client):
    """`x5t#S256` of the certificate (RFC 8705 §3.1)."""
    with open(client["certificate"], "rb") as file:
        digest = load_pem_x509_certificate(file.read()).fingerprint(SHA256())
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
