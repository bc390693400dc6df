"""Asks a real Keycloak and Tokenry's Keycloak dialect the same, and says where they answer differently.

    python3 interop/keycloak --tokenry BINARY --keycloak FOLDER [--scene NAME]... [--masked]

FOLDER is where Keycloak is, or where it will be installed. What must differ is in masks.py, with reasons. Where Keycloak
cannot be had, or not in time, that is said and the exit code is 69.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile

import masks
import scenes
import servers
from compare import differences, out_of_order
from wire import Side

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench/peers/keycloak/keycloak.sh"

# EX_UNAVAILABLE of sysexits.h.
UNAVAILABLE = 69


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tokenry", required=True, help="the tokenry command")
    options.add_argument("--keycloak", required=True, help="the folder where Keycloak is or will be installed")
    options.add_argument("--scene", action="append", help="play this scene alone; may be repeated")
    options.add_argument("--masked", action="store_true", help="print what the masks cover as well")
    options = options.parse_args()
    names = [scene.__name__ for scene in scenes.ALL]
    unknown = sorted(set(options.scene or []) - set(names))
    if unknown:
        raise SystemExit(f"no scene is called {unknown[0]!r}; there are {', '.join(names)}")
    chosen = [scene for scene in scenes.ALL if not options.scene or scene.__name__ in options.scene]

    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        try:
            return compare(options, chosen, pathlib.Path(folder))
        except servers.Unavailable as why:
            print(f"Keycloak was not compared with: {why}")
            return UNAVAILABLE


def compare(options, chosen, folder):
    real = servers.keycloak(SCRIPT, pathlib.Path(options.keycloak).resolve(), folder)
    own = servers.tokenry(str(pathlib.Path(options.tokenry).resolve()), folder)
    with real as their_root, own as our_root:
        report = Report(options.masked)
        for scene in chosen:
            report.scene(scene.__name__, play(scene, their_root), play(scene, our_root))
    return report.end(len(chosen) == len(scenes.ALL))


def play(scene, root):
    side = Side(root)
    scene(side)
    return side.answers


class Report:
    """What was found, printed as it is found."""

    def __init__(self, show_masked):
        self.show_masked = show_masked
        self.used = collections.Counter()
        self.answers = 0
        self.faults = 0

    def scene(self, name, theirs, ours):
        print(f"{name}: {len(theirs)} answers")
        for request, answer in theirs.items():
            self.answers += 1
            self.answer(request, answer, ours[request])

    def answer(self, request, theirs, ours):
        found = list(differences(theirs.seen, ours.seen))
        found += out_of_order(theirs.seen["body"], ours.seen["body"])
        for at, their_value, our_value in found:
            # Nothing excuses an answer that should never be given.
            line = masks.mask(request, at, their_value, our_value) if ours.status < 500 else None
            if line:
                self.used[line] += 1
            else:
                self.faults += 1
            if not line or self.show_masked:
                print(f"  {request}: {at}{'  (masked: ' + line[3] + ')' if line else ''}")
                print(f"    Keycloak  {shown(their_value)}\n    Tokenry   {shown(our_value)}")

    def end(self, complete):
        """Says how it went. A mask that covers nothing is a fault too: what it excuses is no longer so."""
        unused = [line for line in masks.TABLE if not self.used[line]] if complete else []
        for names, where, _may, why in unused:
            print(f"this mask covers nothing: {names!r} {where!r} ({why})")
        masked = sum(self.used.values())
        print(f"{self.answers} answers compared, {masked} differences masked, {self.faults} others")
        return 1 if self.faults or unused else 0


def shown(value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


# A line or two; pages of HTML are no help.
LONGEST_SHOWN = 300

if __name__ == "__main__":
    sys.exit(main())
