"""Starts both servers on this machine, each on a free port with realms of its own, and ends them."""

import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import realms

# What Keycloak may take until it answers. It is fetched and installed once: some 150 MB, and half a minute. It starts
# within a minute on one core where other work is under way.
FETCH_SECS = 75
READY_SECS = 150

# Tokenry is there at once.
START_SECS = 30

# How long a server may take to end when it is told to.
END_SECS = 15


class Unavailable(Exception):
    """Keycloak cannot be had here, or not in time."""


def free_root():
    """The address of a port that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def port(root):
    return root.rsplit(":", 1)[1]


@contextlib.contextmanager
def running(command, root, folder, log, deadline=None):
    """A server, from when it answers. One with a deadline is not to be had if it does not answer until then."""
    with open(log, "wb") as sink:
        # A group of its own, so that its own children end with it.
        process = subprocess.Popen(command, cwd=folder, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
    try:
        until_ready(process, root, log, deadline)
        yield root
    finally:
        end(process)


def until_ready(process, root, log, deadline):
    """Waits until every realm is there."""
    until = deadline or time.monotonic() + START_SECS
    while process.poll() is None:
        if all(answers(root, f"/realms/{realm}") for realm in realms.REALMS):
            return
        if time.monotonic() > until:
            if deadline:
                raise Unavailable(f"it did not answer within {READY_SECS} s")
            break
        time.sleep(0.2)
    raise SystemExit(f"{process.args[0]} did not start:\n{tail(log)}")


def tail(log):
    return "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-12:])


def answers(root, path):
    try:
        connection = http.client.HTTPConnection(root.split("//")[1], timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def end(process):
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def keycloak(script, installed, folder):
    """A real Keycloak, installed below `installed` by `script`."""
    began = time.monotonic()
    for step, seconds in (("fetch", FETCH_SECS), ("install", READY_SECS)):
        prepare(["sh", str(script), step, str(installed)], folder / f"{step}.log", began, seconds)
    files = folder / "realms"
    files.mkdir()
    for realm in realms.REALMS:
        (files / f"{realm}-realm.json").write_text(realms.keycloak(realm))
    root = free_root()
    command = ["sh", str(script), "start", str(installed), port(root), str(files)]
    return running(command, root, folder, folder / "keycloak.log", began + READY_SECS)


def prepare(command, log, began, seconds):
    """Runs a command that must end well so many seconds after `began`."""
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait(began + seconds - time.monotonic())
    except subprocess.TimeoutExpired:
        # Maven and Keycloak are children of the shell.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise Unavailable(f"`{pathlib.Path(command[1]).name} {command[2]}` took longer than {seconds} s") from None
    if code:
        raise Unavailable(f"`{pathlib.Path(command[1]).name} {command[2]}` ended with {code}:\n{tail(log)}")


def tokenry(binary, folder):
    """A Tokenry with the same realms."""
    home = folder / "tokenry"
    root = free_root()

    def run(*args, said=None):
        done = subprocess.run([binary, *args], cwd=home, input=said, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tokenry {' '.join(args)}: {done.stderr or done.stdout}")

    home.mkdir()
    run("init", ".")
    config = home / "tokenry.toml"
    config.write_text(plain(config.read_text(), port(root)))
    for realm in realms.REALMS:
        (home / f"{realm}.toml").write_text(realms.tokenry(realm, root))
    run("apply", *(f"{realm}.toml" for realm in realms.REALMS))
    for realm in realms.REALMS:
        for client in realms.CLIENTS:
            run("client", "secret", "add", realm, client, "--import-from", "-", said=realms.SECRET)
        for user, enabled in realms.USERS.items():
            run("user", "add", realm, user, "--password-from", "-", said=realms.PASSWORD)
            if not enabled:
                run("user", "disable", realm, user)
    return running([binary, "serve"], root, home, folder / "tokenry.log")


def plain(config, port_number):
    """What `tokenry init` wrote, without TLS and without a second listener."""
    config = re.sub(r"(?ms)^\[tls\].*?(?=^\[|\Z)", "", config)
    config = re.sub(r"(?m)^admin\s*=.*\n", "", config)
    return re.sub(r"(?m)^listen\s*=.*", f'listen = "127.0.0.1:{port_number}"', config)
