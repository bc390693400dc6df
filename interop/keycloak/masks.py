"""Where Tokenry answers otherwise than Keycloak, and why. What no line of this table covers is a fault."""

import fnmatch
import re

from compare import MISSING

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def different(theirs, ours):
    """Both have a value of the same kind."""
    return MISSING not in (theirs, ours) and type(theirs) is type(ours)


def ours_alone(theirs, _):
    return theirs == MISSING


def theirs_alone(_, ours):
    return ours == MISSING


def whatever(_theirs, _ours):
    return True


def times(theirs, ours):
    """Both ran within a minute or so."""
    return isinstance(theirs, int) and isinstance(ours, int) and abs(theirs - ours) < 300


def uuids(theirs, ours):
    """Each a UUID; Keycloak writes since 26.2 before that of an access token how it came about."""
    return all(isinstance(one, str) and UUID.search(one) for one in (theirs, ours))


# Algorithms under names that are younger than those of Keycloak: RFC 9864, and ML-DSA in JOSE.
YOUNG = {"Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"}


# Clients may prove themselves with certificates of their own making, which Keycloak has not.
SELF_SIGNED = {"self_signed_tls_client_auth"}


def subset(theirs, ours):
    """We list nothing that Keycloak would not, apart from what is too young for it, and from that."""
    return isinstance(theirs, list) and isinstance(ours, list) and set(ours) <= set(theirs) | YOUNG | SELF_SIGNED


def texts(theirs, ours):
    """Exactly these two."""
    return lambda a, b: (a, b) == (theirs, ours)


def refresh_tokens(theirs, ours):
    """Each in its form."""
    return isinstance(theirs, dict) and isinstance(ours, str) and ours.startswith("tkr_")


def scopes(theirs, ours):
    """Nothing of ours is missing there, and nothing beyond it but what Keycloak keeps to itself."""
    own = {"service_account", "acr", "web-origins", "roles", "basic"}
    return MISSING not in (theirs, ours) and set(theirs.split()) - own == set(ours.split())


def issuer_and_account(theirs, ours):
    return theirs == [ours, "account"]


def certificates(theirs, ours):
    """Each of our keys has the members of one of theirs, apart from its certificate, and values of the same kind."""
    def members(key):
        return {name: type(value) for name, value in key.items() if not name.startswith("x5")}

    signing = [members(key) for key in theirs if key["use"] == "sig"]
    return bool(ours) and all(members(key) in signing for key in ours)


REUSED = "Maximum allowed refresh token reuse exceeded"


EMPTY = "RFC 6749 §3.2: a parameter without a value is taken for one that was not sent"
UNKNOWN_USER = "of a user we know the name alone"
BROWSER = "there is no page for browsers here"
STRICTER = "nothing about tokens may be kept by anybody: RFC 6749 §5.1 for every answer"
SESSION = "what is known of a session is what its tokens say; there is no other record of it"
ONE_REVOKED = "families that ended are not told apart by how they did"
NO_ROLES = "there are no roles; nothing is made up"

# Members of the discovery document that only Keycloak has.
ABSENT = {
    BROWSER: "authorization_* frontchannel_* check_session_iframe prompt_values_supported response_modes_supported "
    "request_object_* require_request_uri_registration code_challenge_methods_supported *pushed_authorization_request*",
    "nobody asks for an `acr` where nobody logs in": "acr_values_supported",
    "nothing is encrypted": "*_encryption_*",
    "userinfo is JSON": "userinfo_signing_alg_values_supported",
    "clients are registered by the operator": "registration_endpoint mtls_endpoint_aliases.registration_endpoint",
    "there is no back channel": "backchannel_* mtls_endpoint_aliases.backchannel_*",
    "there is no device grant": "device_authorization_endpoint mtls_endpoint_aliases.device_authorization_endpoint",
    "userinfo refuses tokens that are bound to a certificate": "mtls_endpoint_aliases.userinfo_endpoint",
}

# What may differ: in which answers, where in them, how, and why. The first two are shell patterns.
TABLE = (
    # What can never be the same.
    ("*", "*.exp", times, "the two are asked one after the other"),
    ("*", "*.iat", times, "the two are asked one after the other"),
    ("*", "*.jti", uuids, "random; the letters before it are of Keycloak 26.2 and newer, 20 to 26.1 have none"),
    ("*", "*.sid", uuids, "random"),
    ("*", "*.sub", uuids, "each server names its users itself"),
    ("*", "body.session_state", uuids, "random"),
    ("*", "*.header.kid", different, "each server has keys of its own"),
    ("*", "*.at_hash", different, "the digest of a token that differs"),
    ("realm", "body.public_key", different, "each server has keys of its own"),
    ("certs", "body.keys", certificates, "each server has keys of its own; without certificates, and none to encrypt with"),
    # Headers.
    ("*", "headers.pragma", ours_alone, STRICTER),
    ("*", "headers.cache-control", texts(MISSING, "no-store"), STRICTER),
    ("*", "headers.cache-control", texts("no-cache", "no-store"), STRICTER),
    ("discovery*", "headers.cache-control", different, "documents may be kept for five minutes, and asked for again by ETag"),
    ("certs", "headers.cache-control", different, "documents may be kept for five minutes, and asked for again by ETag"),
    ("realm", "headers.cache-control", different, "documents may be kept for five minutes, and asked for again by ETag"),
    ("*", "headers.allow", ours_alone, "RFC 9110 §15.5.6: 405 names the methods that there are"),
    ("*", "headers.access-control-allow-origin", ours_alone, "Keycloak says so only where an Origin is sent"),
    ("*userinfo*", "headers.x-frame-options", ours_alone, "an answer without a body is no worse with it"),
    # Documents: what is not there is not announced.
    *(("discovery*", f"body.{name}", theirs_alone, why) for why, names in ABSENT.items() for name in names.split()),
    ("discovery*", "body.*_supported", subset, "of what Keycloak has, what is here"),
    ("discovery*", "body.*_parameter_supported", texts(True, False), "there is no authorization endpoint"),
    ("discovery*", "body.introspection_signing_alg_values_supported", ours_alone, "RFC 9701 §7, which Keycloak has not"),
    ("discovery*", "body*.revocation_feed_endpoint", ours_alone, "Keycloak tells nobody what it revoked"),
    ("discovery posted to", "status", texts(404, 405), "Keycloak finds only GET below .well-known, we find the document"),
    ("discovery posted to", "body.error", different, "Keycloak finds only GET below .well-known, we find the document"),
    ("unknown endpoint posted to", "status", texts(405, 404), "Keycloak has a page for GET at every path"),
    ("unknown endpoint posted to", "body.error", different, "Keycloak has a page for GET at every path"),
    # Tokens.
    ("*", "body.refresh_token", refresh_tokens, "a refresh token is sealed: nobody reads what it says"),
    ("*", "*.realm_access", theirs_alone, NO_ROLES),
    ("*", "*.resource_access", theirs_alone, NO_ROLES),
    ("*", "*.aud", texts(MISSING, "account"), "the audience is the realm's; Keycloak's comes from roles, and this user has none"),
    ("*", "*.name", theirs_alone, UNKNOWN_USER),
    ("*", "*.given_name", theirs_alone, UNKNOWN_USER),
    ("*", "*.family_name", theirs_alone, UNKNOWN_USER),
    ("*", "*.email", theirs_alone, UNKNOWN_USER),
    # Parameters without a value.
    ("empty scope*", "*", whatever, EMPTY),
    ("empty grant type", "body.*", different, EMPTY),
    ("empty username", "body.*", different, EMPTY),
    ("empty refresh token", "body.*", different, EMPTY),
    ("introspect an empty token", "*", whatever, EMPTY),
    ("revoke an empty token", "*", whatever, EMPTY),
    ("log out an empty token", "body.*", different, EMPTY),
    ("userinfo by an empty parameter", "headers.www-authenticate", different, EMPTY),
    # Refusals.
    ("scope with a quote", "body.error_description", different, "RFC 6749 §5.2 admits no quotation mark there"),
    ("disabled user, wrong password", "*", different, "who does not know the password learns nothing of the account"),
    ("client without this grant, neither", "*", different, "a form that lacks something is refused before it is understood"),
    ("rotating: first again", "body.error_description", texts("Stale token", REUSED), ONE_REVOKED),
    ("rotating: * after that", "body.error_description", texts("Session doesn't have required client", "Session not active"), ONE_REVOKED),
    # Introspection.
    ("rotating: introspect a used one", "*", whatever, "a refresh token that was used up is not active, also before it comes again"),
    ("*introspect*", "*.jti", theirs_alone, "a sealed refresh token has no identifier of its own"),
    ("*introspect*", "body.scope", scopes, "Keycloak names in refresh tokens also the scopes that it keeps to itself"),
    ("*introspect*", "body.aud", issuer_and_account, "Keycloak adds the audience of the access tokens"),
    ("*introspect*", "body.clientHost", theirs_alone, SESSION),
    ("*introspect*", "body.clientAddress", theirs_alone, SESSION),
    ("introspect access without refresh", "body.clientHost", ours_alone, SESSION),
    ("introspect access without refresh", "body.clientAddress", ours_alone, SESSION),
    ("introspect access with a wrong hint", "*", whatever, "RFC 7662 §2.1: a hint is a hint, and the search goes on"),
    ("introspect access with an unknown hint", "*", whatever, "RFC 7662 §2.1: a server may ignore the hint"),
    ("introspect an ID token", "*", whatever, "an ID token is none to use at an API"),
    ("refresh after the revocation of access", "*.jti", theirs_alone, "a sealed refresh token has no identifier of its own"),
    ("refresh after the revocation of access", "body.scope", scopes, "Keycloak names in refresh tokens also the scopes that it keeps to itself"),
    ("refresh after the revocation of access", "body.aud", issuer_and_account, "Keycloak adds the audience of the access tokens"),
    ("refresh after the revocation of access", "body.client*", theirs_alone, SESSION),
    # Revocation and logout.
    ("revoke an ID token", "*", whatever, "RFC 7009 §2.2: what is no token of the server is no error"),
    ("logout with*", "*", whatever, BROWSER),
    ("log out nothing", "*", whatever, BROWSER),
)


def mask(scene, at, theirs, ours):
    """The line of the table that covers a difference."""
    for line in TABLE:
        names, where, may, _why = line
        if fnmatch.fnmatchcase(scene, names) and fnmatch.fnmatchcase(at, where) and may(theirs, ours):
            return line
    return None
