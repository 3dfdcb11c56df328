"""Where the processes that torchrun started find each other: a small table of names and values, in one of them or in torchrun."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from struct import pack
from time import monotonic, sleep

from torch._C._distributed_c10d import Store, TCPStore

STORES: dict[tuple[str, int], TCPStore] = {}
"""Those that this process has reached or keeps: they live as long as it does, for the others may come late."""

CONNECT_TIMEOUT = 5.0
"""Seconds that one attempt to reach the table may take."""


def open_store(timeout: float) -> TCPStore:
    """The table of this process and all others of its run.

    An agent of torchrun keeps it, or, told TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, leaves it to the first process, anew for each
    attempt. Then alone an agent that is started again, on a machine that was lost, can join those that are there (torch 2.13).

    Args:
        timeout: seconds to wait for it, and then for what is asked of it.

    Raises:
        TimeoutError: where it cannot be reached in that time.
    """
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    limit = timedelta(seconds=timeout)
    if place not in STORES:
        ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False" and os.environ.get("RANK") == "0"
        if not ours:
            wait_for_port(*place, timeout)
        STORES[place] = TCPStore(*place, is_master=ours, timeout=limit, wait_for_workers=False)
    STORES[place].set_timeout(limit)
    return STORES[place]


def wait_for_port(address: str, port: int, timeout: float) -> None:
    """Waits until somebody answers there: torch's own waiting hears no signal.

    Raises:
        TimeoutError: where nobody does within `timeout` seconds.
    """
    since = monotonic()
    while True:
        try:
            socket.create_connection((address, port), timeout=min(timeout, CONNECT_TIMEOUT)).close()
        except OSError as error:
            if monotonic() - since > timeout:
                raise TimeoutError(f"nobody answers at {address}:{port}, {error.strerror or error}") from error
            sleep(0.1)
        else:
            return


def name_interface(store: Store, rank: int, world_size: int) -> None:
    """Tells gloo by which interface other machines reach this one, where this one's own name leads nowhere but to itself.

    gloo tells the others the address that the machine's name has, and that is 127.0.1.1 where Debian's installer wrote it into
    /etc/hosts. The right interface is the one that leads to them. GLOO_SOCKET_IFNAME, where somebody has set it, is obeyed.

    Args:
        store: where the processes have met; nobody else writes there. Every rank must call it.
        rank: of this process.
        world_size: how many they are.
    """
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) == 1:
        return
    here = local_address_towards(os.environ["MASTER_ADDR"])
    store.set(f"address/{rank}", here)
    if "GLOO_SOCKET_IFNAME" in os.environ or not is_loopback(own_address()):
        return
    if is_loopback(here):  # the others are to be found here
        others = (store.get(f"address/{other}").decode() for other in range(world_size))
        here = next((local_address_towards(other) for other in others if not is_loopback(other)), here)
    if not is_loopback(here) and (name := interface(here)):
        os.environ["GLOO_SOCKET_IFNAME"] = name


def is_loopback(address: str) -> bool:
    """Whether it leads back to the machine that uses it."""
    return address.startswith("127.")


def local_address_towards(host: str) -> str:
    """This machine's own address on the way to `host`; nothing is sent. 127.0.0.1 where there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((host, 9))
        except OSError:
            return "127.0.0.1"
        return str(way.getsockname()[0])


def interface(address: str) -> str:
    """The name of the interface that has an address; empty where none has, or the system does not tell."""
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        for _, name in socket.if_nameindex():
            try:
                found = ioctl(any_.fileno(), 0x8915, pack("256s", name.encode()))  # SIOCGIFADDR
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return ""


def own_address() -> str:
    """The address of this machine's name."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
