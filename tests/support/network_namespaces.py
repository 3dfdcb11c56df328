"""Two hosts on this machine, joined by a cable: each has a network, a name and processes of its own, by namespaces of the kernel.

No privilege is needed where everybody may make user namespaces. All of it hangs on one process, which ends when its input does,
also where the tests are killed: with it ends every process of the hosts, and with the last of them what they were in.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.waiting import DEADLINE

TOOLS = ("unshare", "nsenter", "setpriv", "mount", "ip")
NAMES, ADDRESSES = ("one", "two"), ("10.77.0.1", "10.77.0.2")
HOLD = ["sh", "-c", "echo ready; exec cat"]
"""A process that ends when its input does."""
NESTED = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--"]
"""Before a command: it and all that it starts end at once when whoever started it is killed."""


@dataclass
class Host:
    """One of the two, with its own loopback and one interface, `cable`.

    Args:
        name: its own, by which the other knows it as well.
        address: where the other reaches it.
        holder: the id of a process in it, which ends with the hosts.
    """

    name: str
    address: str
    holder: int

    def start(self, words: list[str], folder: Path, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Starts a command here, in a folder. To kill it kills all that it has started as well, in the same instant."""
        inside = enter(self.holder, "--net", "--uts", "--mount", "--pid")
        return subprocess.Popen([*inside, *NESTED, "env", "-C", str(folder), *words], **kwargs)

    def ip(self, *words: str) -> None:
        """Changes the network; `link set cable down` pulls the cable out, which nobody is told."""
        done([*enter(self.holder, "--net"), "ip", *words])


@contextmanager
def hosts(debian: bool = False) -> Iterator[tuple[Host, Host]]:
    """The two, for as long as the block lasts.

    Args:
        debian: each has its own name at 127.0.1.1, as Debian's installer writes it into /etc/hosts.

    Raises:
        OSError: where the machine does not allow it.
    """
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory()))
        base = held(["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--", *HOLD], cleanup)
        apart = [*enter(base, "--pid"), "unshare", "--net", "--uts", "--mount", "--", *HOLD]
        one, two = (Host(name, address, held(apart, cleanup)) for name, address in zip(NAMES, ADDRESSES, strict=True))
        one.ip("link", "add", "cable", "type", "veth", "peer", "name", "end")
        one.ip("link", "set", "end", "netns", str(two.holder))
        two.ip("link", "set", "end", "name", "cable")
        for host in (one, two):
            done([*enter(host.holder, "--uts"), "hostname", host.name])
            known = dict(zip(NAMES, ADDRESSES, strict=True)) | ({host.name: "127.0.1.1"} if debian else {})
            table = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in known.items())
            for file, text in (("hosts", table), ("nsswitch.conf", "hosts: files\n")):
                own = folder / f"{host.name}-{file}"
                own.write_text(text)
                done([*enter(host.holder, "--mount"), "mount", "--bind", str(own), f"/etc/{file}"])
            host.ip("address", "add", f"{host.address}/24", "dev", "cable")
            for interface in ("lo", "cable"):
                host.ip("link", "set", interface, "up")
        yield one, two


@cache
def lacking() -> str:
    """What this machine does not have for them; empty where it has all."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"two hosts need {missing[0]} (of util-linux or iproute2)"
    try:
        with hosts():
            return ""
    except OSError as error:
        return f"two hosts need namespaces, which are not to be had here ({error})"


def held(words: list[str], cleanup: ExitStack) -> int:
    """Starts a command that ends in HOLD, until `cleanup`; the process id of that."""
    pipe = subprocess.PIPE
    process = cleanup.enter_context(subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe))  # leaving closes, and waits
    cleanup.callback(process.stdin.close)  # type: ignore[union-attr]
    if process.stdout.readline() != b"ready\n":  # type: ignore[union-attr]
        raise OSError(" ".join(process.stderr.read().decode().split()))  # type: ignore[union-attr]
    number = process.pid
    while inner := Path(f"/proc/{number}/task/{number}/children").read_text().split():
        number = int(inner[0])
    return number


def enter(holder: int, *which: str) -> list[str]:
    """The words before a command that is to run in so many namespaces of a process."""
    return ["nsenter", "-t", str(holder), "--user", "--preserve-credentials", *which, "--"]


def done(words: list[str]) -> None:
    """Runs a command to its end; an OSError with what it says where it fails."""
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE)
    if ran.returncode:
        raise OSError(f"{' '.join(words[words.index('--') + 1 :])}: {' '.join(ran.stderr.split())}")
