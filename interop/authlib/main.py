"""Clients in Python against a running Tokenry: Authlib, requests-oauthlib, python-keycloak.

python main.py FACTS
"""

import json
import sys
import warnings

import beyond_with_authlib
import with_authlib
import with_python_keycloak
import with_requests_oauthlib

CLIENTS = {
    "Authlib": with_authlib.CASES + beyond_with_authlib.CASES,
    "requests-oauthlib": with_requests_oauthlib.CASES,
    "python-keycloak": with_python_keycloak.CASES,
}


def main(path):
    with open(path, encoding="utf-8") as file:
        facts = json.load(file)
    # joserfc says so of every use of that name; there are servers that know no other.
    warnings.filterwarnings("ignore", "EdDSA is deprecated")
    failed = False
    for client, cases in CLIENTS.items():
        for realm in facts["realms"]:
            for what, run in cases:
                # A case for one dialect says so, and one for a strict realm.
                meant = getattr(run, "dialect", realm["dialect"]), getattr(run, "profile", "standard")
                if meant != (realm["dialect"], realm["profile"]):
                    continue
                line = f"{client:20} {realm['name']:9} {what}"
                try:
                    run(realm)
                    print(f"ok      {line}", flush=True)
                except Exception as error:
                    failed = True
                    why = " ".join(f"{type(error).__name__} {error}".split())
                    print(f"FAILED  {line}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
