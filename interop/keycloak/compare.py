"""Compares two answers, field by field."""

MISSING = "(nothing)"


def differences(theirs, ours, at=""):
    """Every place where the two differ, with what stands there on each side.

    Members are compared whatever their order; so is a scope, which RFC 6749 §3.3 makes a set.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            below = f"{at}.{name}" if at else name
            yield from differences(theirs.get(name, MISSING), ours.get(name, MISSING), below)
    elif at.endswith("scope") and isinstance(theirs, str) and isinstance(ours, str):
        if sorted(theirs.split()) != sorted(ours.split()):
            yield at, theirs, ours
    elif at.endswith("expires_in") and isinstance(theirs, int) and isinstance(ours, int):
        # Keycloak counts from when it answers, which may be in the second after it issued.
        if abs(theirs - ours) > 1:
            yield at, theirs, ours
    elif theirs != ours or isinstance(theirs, bool) != isinstance(ours, bool):
        yield at, theirs, ours


def out_of_order(theirs, ours, at="order of body"):
    """Every object whose members, of those that both have, stand in another order than theirs."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return
    both = (set(theirs) & set(ours)) - MAPPED
    common = [name for name in theirs if name in both], [name for name in ours if name in both]
    if common[0] != common[1]:
        yield at, *common
    for name in common[0]:
        yield from out_of_order(theirs[name], ours[name], f"{at}.{name}")


# Claims that mappers of client scopes write: Keycloak has them in another order in each realm.
MAPPED = {"email_verified", "preferred_username", "clientHost", "clientAddress", "client_id"}
