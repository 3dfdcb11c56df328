"""Errors of one rank, which all ranks then say: told through the store by which they find each other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from torch._C._distributed_c10d import Store

from accel import errors
from accel.errors import ConfigError, Interrupted, TrainingError

__all__ = ["FAREWELL", "GONE", "GRACE", "LOST_PEER", "TRANSPORT", "RankFailures", "decode", "encode", "is_known"]

LOST_PEER = r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|pair closure"
"""Words of errors that another process, or the network, is the cause of."""
TRANSPORT = r"gloo|NCCL|c10d|TCPStore"
"""Words of errors of what carries tensors between ranks; without them a lost connection is one of the user's own."""
FAREWELL = 10.0
"""Seconds for which a rank that fails later waits until the others have heard why."""
GONE = "the connection to another rank is lost, which was killed, or has not said why"
"""Beginning of the error where no rank has said why."""
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
