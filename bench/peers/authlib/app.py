"""Authlib as a peer of the benchmark: client_credentials, JWT access tokens (RFC 9068), clients in memory.

BENCH_ALGORITHM=ES256 BENCH_SECRET=... gunicorn app:app
"""

import os
from hmac import compare_digest

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

ALGORITHM = os.environ["BENCH_ALGORITHM"]
SECRET = os.environ["BENCH_SECRET"]

PARAMETERS = {"kid": "bench", "use": "sig"}
KEY = {
    "RS256": lambda: RSAKey.generate_key(2048, PARAMETERS),
    "ES256": lambda: ECKey.generate_key("P-256", PARAMETERS),
}[ALGORITHM]()
KEYS = KeySet([KEY])


class Client(ClientMixin):
    def get_client_id(self):
        return "bench"

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return " ".join(one for one in scope.split() if one in ("read", "write"))

    def check_redirect_uri(self, redirect_uri):
        return False

    def check_client_secret(self, client_secret):
        return compare_digest(client_secret, SECRET)

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return False

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


CLIENTS = {"bench": Client()}


class Tokens(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KEYS

    def get_audiences(self, client, user, scope):
        return "https://localhost/api"


app = Flask(__name__)
server = AuthorizationServer(app, CLIENTS.get, lambda token, request: None)
server.register_grant(grants.ClientCredentialsGrant)
server.register_token_generator("default", Tokens(issuer="https://localhost", alg=ALGORITHM))


@app.post("/token")
def token():
    return server.create_token_response()
