"""The same realms twice: as Keycloak imports them, and as Tokenry's files."""

import json

SECRET = "compare-2f6c1d8e9b7a4350a1c4e7f0d2b5983c"
PASSWORD = "correct horse battery staple"

# As Keycloak makes them; one that rotates refresh tokens; and one whose tokens live for a second or two.
REALMS = ("compare", "rotating", "brief")

# Of the scopes that a new realm has, those that tokens name.
DEFAULT_SCOPES = ("email", "profile")
SCOPES = (*DEFAULT_SCOPES, "address", "phone")

# Each client by what it may do: client credentials, refresh tokens with those, and the password grant.
CLIENTS = {
    "machine": {"service": True, "refresh": True, "direct": True},
    "plain": {"service": True, "refresh": False, "direct": False},
    "second": {"service": True, "refresh": True, "direct": True},
    "nothing": {"service": False, "refresh": False, "direct": False},
    "disabled": {"service": True, "refresh": False, "direct": False, "enabled": False},
}

# Who may log in with a password; of `gone` the account is disabled.
USERS = {"ada": True, "gone": False}


def keycloak(realm):
    """A realm file for `kc.sh start --import-realm`. What it does not say is as Keycloak makes it."""
    return json.dumps({
        "realm": realm,
        "enabled": True,
        "sslRequired": "none",
        "revokeRefreshToken": realm == "rotating",
        "refreshTokenMaxReuse": 0,
        **({"accessTokenLifespan": 1, "ssoSessionIdleTimeout": 2} if realm == "brief" else {}),
        "clients": [
            {
                "clientId": name,
                "secret": SECRET,
                "enabled": may.get("enabled", True),
                "publicClient": False,
                "serviceAccountsEnabled": may["service"],
                "standardFlowEnabled": False,
                "directAccessGrantsEnabled": may["direct"],
                "attributes": {"client_credentials.use_refresh_token": str(may["refresh"]).lower()},
            }
            for name, may in CLIENTS.items()
        ],
        "users": [
            {
                "username": name,
                "enabled": enabled,
                "emailVerified": False,
                # Without these Keycloak says that the account is not fully set up.
                "firstName": name,
                "lastName": name,
                "email": f"{name}@example.org",
                "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
            }
            for name, enabled in USERS.items()
        ],
    }, indent=1)


def tokenry(realm, root):
    """The same as a realm file of Tokenry. A client's default scope is what Keycloak gives every client."""
    brief, rotating = realm == "brief", realm == "rotating"
    lifetime = "2s" if brief else "30m"
    policy = "rotate" if rotating else "reissue"

    def refresh(service):
        grace = ', grace = "0s"' if rotating else ""
        return f'{{ lifetime = "{lifetime}", policy = "{policy}"{grace}, client_credentials = {str(service).lower()} }}'

    def client(name, may):
        grants = ["refresh_token"] + ["client_credentials"] * may["service"] + ["password"] * may["direct"]
        return (
            f'\n[[realm.clients]]\nid = "{name}"\ngrants = {json.dumps(grants)}\n'
            f'scope = {json.dumps(SCOPES)}\ndefault_scope = {json.dumps(DEFAULT_SCOPES)}\n'
            f'enabled = {str(may.get("enabled", True)).lower()}\nrefresh = {refresh(may["refresh"])}\n'
        )

    clients = "".join(client(name, may) for name, may in CLIENTS.items())
    return (
        f'[realm]\nname = "{realm}"\nissuer = "{root}/realms/{realm}"\ndialect = "keycloak"\npassword_grant = true\n'
        f'audience = ["account"]\nscopes = {json.dumps(SCOPES)}\n'
        f'\n[realm.tokens]\naccess = "{"1s" if brief else "5m"}"\nsigning = "RS256"\n'
        f'refresh = {refresh(True)}\n\n[realm.certificates]\norigin = "{root}"\n{clients}'
    )
