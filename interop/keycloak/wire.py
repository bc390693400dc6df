"""One server as the scenes see it: requests go out, and every answer is kept under a name."""

import base64
import http.client
import json
import urllib.parse

from realms import SECRET

FORM = "application/x-www-form-urlencoded"

# The headers that a client or a browser acts upon.
HEADERS = (
    "content-type",
    "cache-control",
    "pragma",
    "www-authenticate",
    "allow",
    "access-control-allow-origin",
    "strict-transport-security",
    "x-frame-options",
    "x-content-type-options",
    "x-xss-protection",
    "referrer-policy",
)

# A server that takes longer has hung.
PATIENCE_SECS = 30


class Answer:
    """What came back, its tokens opened and the server's own address taken out."""

    def __init__(self, status, headers, text, root):
        self.status = status
        self.headers = {name: headers[name] for name in HEADERS if name in headers}
        self.text = text
        try:
            self.json = json.loads(text)
        except ValueError:
            self.json = None
        self.seen = {"status": status, "headers": self.headers, "body": _opened(self.json, text, root)}

    def get(self, name):
        """A member of the body; empty where there is none, so that a scene goes on and shows what follows."""
        return (self.json or {}).get(name, "") if isinstance(self.json, dict) else ""


def _opened(value, text, root):
    if value is None:
        return {"text": text} if text else "nothing"
    return _seen(value, root)


def _seen(value, root):
    """The same with addresses made alike and tokens replaced by what they say."""
    if isinstance(value, dict):
        return {name: _seen(one, root) for name, one in value.items()}
    if isinstance(value, list):
        return [_seen(one, root) for one in value]
    if isinstance(value, str):
        return _jwt(value, root) or value.replace(root, "{root}")
    return value


def _jwt(text, root):
    parts = text.split(".")
    if len(parts) != 3 or not text.startswith("ey"):
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    except ValueError:
        return None
    return {"header": _seen(header, root), "claims": _seen(claims, root)}


def basic(client, secret=SECRET):
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()


class Side:
    """A server, and what it answered so far."""

    def __init__(self, root):
        self.root = root
        self.address = urllib.parse.urlsplit(root).netloc
        self.realm = "compare"
        self.answers = {}

    def send(self, name, method, path, headers=None, body=None):
        """Sends one request; `name` is where its answer is kept, or none."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_SECS)
        try:
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, path, body=data, headers=headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            found = {key.lower(): value.replace(self.root, "{root}") for key, value in response.getheaders()}
        finally:
            connection.close()
        answer = Answer(response.status, found, text, self.root)
        if name:
            if name in self.answers:
                raise ValueError(f"two requests are called {name!r}")
            self.answers[name] = answer
        return answer

    def path(self, endpoint):
        return f"/realms/{self.realm}/protocol/openid-connect/{endpoint}"

    def post(self, name, endpoint, fields, client="machine", headers=None):
        """Posts a form. `client` authenticates with Basic; without one nobody does."""
        all_headers = {"Content-Type": FORM}
        if client:
            all_headers["Authorization"] = basic(client)
        all_headers.update(headers or {})
        pairs = list(fields.items()) if isinstance(fields, dict) else fields
        return self.send(name, "POST", self.path(endpoint), all_headers, urllib.parse.urlencode(pairs))

    def token(self, name, grant_type, client="machine", headers=None, **fields):
        return self.post(name, "token", {"grant_type": grant_type, **fields}, client, headers)
