"""Errors of one rank, which all ranks then say: told through the store by which they find each other."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from time import monotonic, sleep
from uuid import uuid4

from torch._C._distributed_c10d import PrefixStore, Store

from accel import errors
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.system.rendezvous import open_store

__all__ = [
    "ANNOUNCEMENT",
    "FAREWELL",
    "GONE",
    "LOST_PEER",
    "TRANSPORT",
    "RankFailures",
    "announce",
    "announcing",
    "decode",
    "encode",
    "is_known",
    "rendezvous",
]  # fmt: skip

LOST_PEER = r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|pair closure"
"""Words of errors that another process, or the network, is the cause of."""
TRANSPORT = r"gloo|NCCL|c10d|TCPStore"
"""Words of errors of what carries tensors between ranks; without them a lost connection is one of the user's own."""
ANNOUNCEMENT = 5.0
"""Seconds for which a rank that fails before it has met the others waits for them, to tell them why."""
FAREWELL = 10.0
"""Seconds for which a rank that fails later waits until the others have heard why."""
GONE = "the connection to another rank is lost, which was killed, or has not said why"
"""Beginning of the error where no rank has said why."""
FAILED = "!"
"""End of the name of a process that cannot take part."""
GRACE = 1.0
"""Seconds that an error may travel behind the end of the connection that it is the cause of."""


class RankFailures:
    """Table of the ranks' errors in one run.

    Args:
        store: a part of the store that belongs to this run alone.
        rank: of this process.
        world_size: number of ranks.
    """

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        self.published = False
        """Whether this rank has failed by itself."""
        self.lost_peer = False
        """Whether another rank is gone, and has not said why."""

    def publish(self, error: BaseException) -> None:
        """Tell the other ranks that this one fails, and why."""
        self.published = True
        vars(error)["known_to_all_ranks"] = True
        with suppress(RuntimeError):  # the process that serves the store may be gone
            self.store.set(f"failure/{self.rank}", encode(error, self.rank))
            self.store.set("any failure", "")

    def has_any(self) -> bool:
        """Return whether a rank has published an error. One request, whatever the number of ranks."""
        with suppress(RuntimeError):
            return self.store.check(["any failure"])
        return False

    def of_other(self, seconds: float = GRACE, give_up: Callable[[], bool] = lambda: False) -> BaseException | None:
        """Return the error of the first rank that has published one; None if none does within `seconds`."""
        since = monotonic()
        with suppress(RuntimeError):
            while True:
                for other in range(self.world_size):
                    if other != self.rank and self.store.check([f"failure/{other}"]):
                        return decode(self.store.get(f"failure/{other}"))
                if monotonic() - since > seconds or give_up():
                    break
                sleep(0.01)
        return None

    def leave(self) -> None:
        """Tell the other ranks that this one needs nothing of them any more."""
        with suppress(RuntimeError):
            self.store.set(f"over/{self.rank}", "")

    def wait_until_all_leave(self, seconds: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait until every rank has left, for `seconds` at most. Return whether all have."""
        since, keys = monotonic(), [f"over/{other}" for other in range(self.world_size)]
        with suppress(RuntimeError):
            while not self.store.check(keys):
                if monotonic() - since > seconds or give_up():
                    return False
                sleep(0.005)
            return True
        return False

    @contextmanager
    def shared(self, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Context in which an error of this rank is told to the others, and an error of another rank is raised here.

        Args:
            give_up: whether to wait for the others no longer, because a signal has come.

        Raises:
            ConfigError: that of another rank, where its end is what went wrong here; likewise a TrainingError, which is also
                raised where that rank has said nothing, and Interrupted, where a signal has stopped it alone.
        """
        try:
            yield
        except (SystemExit, KeyboardInterrupt) as error:
            if getattr(error, "update", None) is None:  # else all have agreed to stop
                self.publish(error)
            raise
        except Exception as error:
            if is_known(error):
                raise
            lost = isinstance(error, RuntimeError) and re.search(LOST_PEER, str(error))
            cause = self.of_other(give_up=give_up) if lost else None
            if cause is not None:
                raise cause from error
            if lost and re.search(TRANSPORT, str(error)):
                self.lost_peer = True
                reason = re.sub(r"^\[[^]]*\]", "", " ".join(str(error).split())).partition(". This is")[0].strip()
                raise TrainingError(f"{GONE} ({reason[:200]}); see what it printed, and torchrun") from error
            self.publish(error)
            raise


def encode(error: BaseException, rank: int) -> str:
    """Return an error as text."""
    kind = type(error).__name__ if isinstance(error, ConfigError | TrainingError | Interrupted) else ""
    text = " ".join(str(error).split())
    return json.dumps({"kind": kind, "text": str(error) if kind else f"rank {rank} failed: {type(error).__name__}: {text[:200]}",
                       "resume": getattr(error, "resume", None)})  # fmt: skip


def decode(text: bytes) -> BaseException:
    """Return the error that `encode` made a text of. One that is no error of accel's is a TrainingError with its rank and kind."""
    facts = json.loads(text)
    kind = getattr(errors, facts["kind"], None) if facts["kind"] else None
    if isinstance(kind, type) and issubclass(kind, ConfigError):
        error: BaseException = kind(facts["text"])
    elif kind is Interrupted:
        error = Interrupted("a signal to another rank")
    elif kind is TrainingError:
        error = TrainingError(facts["text"], facts["resume"])
    else:
        error = TrainingError(f"{facts['text']}; that rank says more")
    vars(error)["known_to_all_ranks"] = True
    return error


def is_known(error: BaseException) -> bool:
    """Return whether all ranks have this error, so that one of them may print it for all."""
    return bool(getattr(error, "known_to_all_ranks", False))


def rendezvous(store: Store, rank: int, world_size: int, timeout: float, failure: str = "") -> Store:
    """Return a part of the store for these very processes, whichever processes died in it before them.

    Processes that torchrun restarts find in its store the addresses of the dead ones, and would wait for them forever. Its count
    of restarts does not tell them apart: each node has its own. So every process leaves a new name. The first puts the names
    together, and the others confirm that theirs is among them. The names that all have confirmed name the part of the store.

    A process that cannot take part comes all the same, to say why.

    Args:
        store: the store of all processes.
        rank: of this process.
        world_size: number of processes.
        timeout: seconds to wait for the others.
        failure: why this process cannot take part, as `encode` writes it; empty if it can.

    Raises:
        TimeoutError: if not all of them come within `timeout` seconds.
        ConfigError: that of a process which cannot take part; likewise a TrainingError.
    """
    name, since = uuid4().hex + (FAILED if failure else ""), monotonic()
    if failure:
        store.set(f"accel/failure/{name}", failure)
    store.set(f"accel/here/{rank}", name)
    while not (names := _confirmed_names(store, rank, world_size, name)):
        if monotonic() - since > timeout:
            raise TimeoutError(f"not within {timeout:g} seconds")
        sleep(0.01)
    corner = PrefixStore(_corner(names), store)
    failed = next((name for name in names if name.endswith(FAILED)), None)
    if failed is not None:
        error = decode(store.get(f"accel/failure/{failed}"))
        failures = RankFailures(corner, rank, world_size)
        failures.leave()
        failures.wait_until_all_leave(GRACE)  # one of them may serve the store
        raise error
    return corner


def _confirmed_names(store: Store, rank: int, world_size: int, name: str) -> list[str]:
    """Confirm the list of names if `name` is in its place there. Return it once all have confirmed it; until then an empty one."""
    names = _collected_names(store, rank, world_size)
    if names[rank : rank + 1] != [name]:
        return []
    corner = _corner(names)
    store.set(f"{corner}/{rank}", "")
    if not store.check([f"{corner}/{other}" for other in range(world_size)] if rank == 0 else [f"{corner}/done"]):
        return []
    store.set(f"{corner}/done", "")
    return names


def _collected_names(store: Store, rank: int, world_size: int) -> list[str]:
    """Return the newest names of all processes, which the first rank puts together; an empty list until there are as many."""
    keys = [f"accel/here/{other}" for other in range(world_size)] if rank == 0 else ["accel/names"]
    if not store.check(keys):  # to get what is not there yet is to wait where no signal is heard
        return []
    names = " ".join(store.get(key).decode() for key in keys)
    if rank == 0:
        store.set("accel/names", names)
    return names.split()


def _corner(names: list[str]) -> str:
    """Return the prefix of the part of the store that belongs to processes of these names."""
    return "accel/" + sha256(" ".join(names).encode()).hexdigest()[:16]


def announce(error: Exception) -> None:
    """Tell the other ranks why this one will not come, if they come to meet it within `ANNOUNCEMENT` seconds."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or any(name not in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")):
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    vars(error)["known_to_all_ranks"] = True
    with suppress(TimeoutError, RuntimeError, ConfigError):  # the last is this very error, which comes back
        rendezvous(open_store(ANNOUNCEMENT), rank, world_size, ANNOUNCEMENT, encode(error, rank))


@contextmanager
def announcing() -> Iterator[None]:
    """Context in which an error is told to the ranks that wait to meet this one."""
    try:
        yield
    except Exception as error:
        if not is_known(error):
            announce(error)
        raise
