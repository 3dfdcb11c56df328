"""Where processes meet, and by which interface the machines reach one another."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch._C._distributed_c10d import HashStore

from accel.errors import ConfigError
from accel.parts.shared.ranks.rank_failures import encode
from accel.parts.shared.ranks.rank_meeting import rendezvous as meet
from accel.system import rendezvous
from accel.system.rendezvous import interface, is_loopback, local_address_towards, name_interface, open_store


def test_the_first_process_keeps_the_table_where_torchrun_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False", "RANK": "0"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    first = open_store(20)
    first.set("name", "value")
    assert open_store(20) is first, "one for all that a process does"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(rendezvous, "STORES", {})
    assert open_store(20).get("name") == b"value"


def test_the_interface_of_an_address() -> None:
    assert is_loopback(local_address_towards("localhost"))
    assert interface("127.0.0.1") in [name for _, name in socket.if_nameindex()]
    assert interface("192.0.2.1") == "", "an address that nobody has"
    assert local_address_towards("no such host") == "127.0.0.1"


@pytest.mark.parametrize("set_already", [False, True])
def test_gloo_is_told_where_the_name_leads_nowhere(set_already: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"one": "127.0.0.1", "10.0.0.2": "10.0.0.1"}
    monkeypatch.setattr(rendezvous, "local_address_towards", here.__getitem__)
    monkeypatch.setattr(rendezvous, "interface", {"10.0.0.1": "eth7"}.__getitem__)
    monkeypatch.setattr(rendezvous, "own_address", lambda: "127.0.1.1")
    monkeypatch.setenv("MASTER_ADDR", "one")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    store = HashStore()
    store.set("address/1", "10.0.0.2")
    name_interface(store, 0, 2)
    assert "GLOO_SOCKET_IFNAME" not in rendezvous.os.environ, "one machine alone needs none"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    if set_already:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    else:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")  # what it is told is forgotten after the test
        monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    name_interface(store, 0, 2)
    assert rendezvous.os.environ["GLOO_SOCKET_IFNAME"] == ("mine" if set_already else "eth7")
    assert store.get("address/0") == b"127.0.0.1"


def corners(store: HashStore, ranks: int = 3) -> list[str]:
    """Return what the processes that meet find in their part of the store: the word of the first."""

    def take_part(rank: int) -> str:
        corner = meet(store, rank, ranks, 20)
        if rank == 0:
            corner.set("word", "of the first")
        return corner.get("word").decode()

    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(take_part, range(ranks)))


def test_processes_that_are_started_again_do_not_meet_the_dead() -> None:
    store = HashStore()
    assert corners(store) == ["of the first"] * 3
    names = store.get("accel/names")
    assert corners(store) == ["of the first"] * 3
    assert store.get("accel/names") != names
    store.set("accel/here/2", "dead")
    with pytest.raises(TimeoutError, match="not within 0"):
        meet(store, 0, 3, 0)
    assert corners(store) == ["of the first"] * 3


def test_a_process_that_cannot_take_part_comes_to_say_why() -> None:
    store, sentence = HashStore(), "there is no such thing"

    def take_part(rank: int) -> str:
        with pytest.raises(ConfigError) as error:
            meet(store, rank, 3, 20, encode(ConfigError(sentence), rank) if rank == 1 else "")
        return str(error.value)

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(take_part, range(3))) == [sentence] * 3
