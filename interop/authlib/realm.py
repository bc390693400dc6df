"""What the cases of all libraries say about a realm."""

# What each dialect calls what is wrong.
WRONG = {
    "rfc": {
        "secret": "invalid_client",
        "assertion": "invalid_client",
        "scope": "invalid_scope",
        "refresh_token": "invalid_grant",
        "password": "invalid_grant",
    },
    "keycloak": {
        "secret": "unauthorized_client",
        "assertion": "invalid_client",
        "scope": "invalid_scope",
        "refresh_token": "invalid_grant",
        "password": "invalid_grant",
    },
}


# What `service` is granted that asks for `write`: Keycloak adds what a client has by default.
GRANTED = {"rfc": "write", "keycloak": "read write"}


def only(dialect):
    """A case that makes sense in one dialect."""

    def mark(case):
        case.dialect = dialect
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
