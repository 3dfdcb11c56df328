"""The store through which the processes of torchrun find each other: a small table in one of them, or in torchrun's agent."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from struct import pack
from time import monotonic, sleep

from torch._C._distributed_c10d import Store, TCPStore

__all__ = [
    "CONNECT_TIMEOUT",
    "STORES",
    "interface",
    "is_loopback",
    "local_address_towards",
    "name_interface",
    "open_store",
    "own_address",
    "wait_for_port",
]

STORES: dict[tuple[str, int], TCPStore] = {}
"""The stores that this process has reached or serves. They live as long as it does, because other processes may come late."""

CONNECT_TIMEOUT = 5.0
"""Seconds that one attempt to connect may take."""


def open_store(timeout: float) -> TCPStore:
    """Return the store of this process and all others of its run.

    An agent of torchrun serves it. With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 it leaves that to the first process, anew for each
    attempt. Only then can an agent that is started again, on a machine that was lost, join the others (torch 2.13).

    Args:
        timeout: seconds to wait for the store, and then for each value.

    Raises:
        TimeoutError: if the store cannot be reached in that time.
    """
    endpoint = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    limit = timedelta(seconds=timeout)
    if endpoint not in STORES:
        is_server = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False" and os.environ.get("RANK") == "0"
        if not is_server:
            wait_for_port(*endpoint, timeout)
        STORES[endpoint] = TCPStore(*endpoint, is_master=is_server, timeout=limit, wait_for_workers=False)
    STORES[endpoint].set_timeout(limit)
    return STORES[endpoint]


def wait_for_port(address: str, port: int, timeout: float) -> None:
    """Wait until a server answers: torch's own waiting hears no signal.

    Raises:
        TimeoutError: if none does within `timeout` seconds.
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
    """Tell gloo by which interface other machines reach this one, if this one's own name leads nowhere but to itself.

    gloo tells the other ranks the address of the machine's name, which is 127.0.1.1 if Debian's installer wrote it into
    /etc/hosts. The right interface is the one that leads to them. GLOO_SOCKET_IFNAME, if somebody has set it, is obeyed.

    Args:
        store: the store of the ranks; nobody else writes there. Every rank must call it.
        rank: of this process.
        world_size: the number of ranks.
    """
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) == 1:
        return
    address = local_address_towards(os.environ["MASTER_ADDR"])
    store.set(f"address/{rank}", address)
    if "GLOO_SOCKET_IFNAME" in os.environ or not is_loopback(own_address()):
        return
    if is_loopback(address):  # the others are to be found here
        addresses = (store.get(f"address/{other}").decode() for other in range(world_size))
        address = next((local_address_towards(other) for other in addresses if not is_loopback(other)), address)
    if not is_loopback(address) and (name := interface(address)):
        os.environ["GLOO_SOCKET_IFNAME"] = name


def is_loopback(address: str) -> bool:
    """Return whether an IPv4 address leads back to the machine that uses it."""
    return address.startswith("127.")


def local_address_towards(host: str) -> str:
    """Return this machine's own address on the way to `host`, or 127.0.0.1 if there is none. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def interface(address: str) -> str:
    """Return the name of the interface with this address; empty if none has it, or the system does not tell."""
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                request = ioctl(probe.fileno(), 0x8915, pack("256s", name.encode()))  # SIOCGIFADDR
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(request[20:24]) == address:
                return name
    return ""


def own_address() -> str:
    """Return the address of this machine's name, or 127.0.0.1 if it has none."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
