"""Under which names MLflow's page may be asked for.

Its server refuses other names, since a page from elsewhere could read and delete through the browser of whoever opens it.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence

from autokd.errors import AutokdError

__all__ = ["ANY", "LOOPBACK", "check", "hint", "settings", "taken"]

LOOPBACK = ("127.0.0.1", "localhost")
ANY = "0.0.0.0"
_NAME = re.compile(r"\*|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PRIVATE = ("10.*", "192.168.*", *(f"172.{number}.*" for number in range(16, 32)))  # as MLflow has them: RFC 1918


def settings(host: str, port: int, names: Sequence[str]) -> dict[str, str]:
    """Variables for `mlflow ui`: this machine by its own names and addresses, and the names that were asked for.

    Private addresses may be asked as MLflow has it, but what changes something is taken from a page of a known one alone.
    Raises AutokdError for what is no name of a machine.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            fix = "the name alone, as in --allowed-host gpubox.example.org"
            raise AutokdError("this is no name of a machine", where=f"--allowed-host {name}", fix=fix)
    if "*" in names:
        return {"MLFLOW_SERVER_ALLOWED_HOSTS": "*", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*"}
    known = list(dict.fromkeys([*LOOPBACK, *_addresses(host), *names]))
    hosts = [form for name in known for form in (name, f"{name}:*")]  # a browser says the port too, a proxy may not
    origins = [form for name in known for form in (f"http://{name}:{port}", f"http://{name}", f"https://{name}")]
    shared = _PRIVATE if host not in LOOPBACK else ()
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join([*hosts, *shared]),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def check(host: str) -> None:
    """Raises AutokdError for what is neither an IPv4 address of this machine nor its name."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except (OSError, UnicodeError):
        raise AutokdError(f"{host!r} is no address of this machine", fix="127.0.0.1, or 0.0.0.0 for all of them") from None


def taken(port: int, host: str = "127.0.0.1") -> str:
    """Why a server cannot listen on this port; empty where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as fault:
            if fault.errno == errno.EADDRINUSE:
                return f"port {port} is in use"
            return f"port {port} cannot be listened on: {(fault.strerror or str(fault)).lower()}"
    return ""


def hint(host: str, names: Sequence[str]) -> str:
    """How it is asked for by another name; nothing where it listens on this machine alone, or names were given."""
    if host in LOOPBACK or names:
        return ""
    return f"MLflow answers to addresses; to be asked by a name, give it too: --allowed-host {socket.gethostname()}"


def _addresses(host: str) -> list[str]:
    """Those that others reach this machine at."""
    if host != ANY:
        return [host]
    found = []
    try:
        found += [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    except OSError:  # a name that nobody resolves
        pass
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the way to anywhere tells our own address
            found.append(probe.getsockname()[0])
    except OSError:
        pass
    return [str(one) for one in found]
