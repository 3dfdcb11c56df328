"""Several ranks try the same remedies in the same order, and come to the same; what fails on one fails on all."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import TCPStore

from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.applied_in_order import of_first_rank
from accel.diagnose.trials.rank_table import LoneRank, RankTable, meet_ranks
from accel.errors import ConfigError
from accel.plugins import AMP, DDP
from tests.support.drill_length import LONG
from tests.support.rank_processes import shared_cases
from tests.support.waiting import DEADLINE


def on_two_ranks(call: Any) -> list[Any]:
    """What a call with the table of a rank returns or raises, by rank."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=DEADLINE))
    results: list[Any] = [None, None]

    def run(rank: int) -> None:
        own = TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=DEADLINE))
        try:
            results[rank] = call(RankTable(own, rank, 2))
        except ConfigError as error:
            results[rank] = str(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    return results


def test_ranks_have_each_others_values_and_one_clock() -> None:
    def call(ranks: RankTable) -> Any:
        return ranks.gather(ranks.rank), ranks.gather({"rank": ranks.rank}), ranks.clock()

    one, other = on_two_ranks(call)
    assert one == other
    assert one[:2] == ([0, 1], [{"rank": 0}, {"rank": 1}])
    assert json.dumps(one)


def test_what_fails_on_one_rank_fails_on_all() -> None:
    def call(ranks: RankTable) -> Any:
        def fails() -> int:
            if ranks.rank == 1:
                raise ConfigError("only here")
            return 7

        assert ranks.together(lambda: ranks.rank) == ranks.rank
        return ranks.together(fails)

    assert on_two_ranks(call) == ["only here", "only here"]


def test_all_try_what_the_first_one_would() -> None:
    def call(ranks: RankTable) -> Any:
        overrides = Overrides(("threads",), (("plugins.threads.count", 2 + ranks.rank), ("plugins.optimizer.args", {"lr": 0.1})))
        own = [Remedy(Possible("threads", "typed", ("data",), overrides=overrides), None, 2.0)] * (2 - ranks.rank)
        return [(one.change.name, one.change.overrides.words) for one in of_first_rank(own, ranks)]

    one, other = on_two_ranks(call)
    words = ("+plugins=[threads]", "plugins.threads.count=2", "plugins.optimizer.args={lr:0.1}")
    assert one == other == [("threads", words)] * 2


def test_one_process_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LoneRank().gather(3) == [3]
    assert LoneRank().together(lambda: 3) == 3
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert type(meet_ranks([AMP()])) is LoneRank, "processes that do not train together do not wait for one another"
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(meet_ranks([DDP()])) is LoneRank


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="a dozen runs of two ranks: make drill")
def test_two_ranks_come_to_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    cases = shared_cases("tests.support.applied_ranks_cases", tmp_path_factory)
    one, other = cases["applied"]
    assert one == other
    tried, batch, failure, _ = one
    assert [name for name, *_ in tried] == ["clip", "backend", "one_fails", "accumulate"]
    assert all(speed is not None for name, speed, *_ in tried if name != "one_fails")
    assert "only here" in tried[2][3]
    assert failure == ""
    assert batch[0] == 8
    one, other = cases["experiments"]
    assert one == other
    assert {"amp", "fused_optimiser"} <= set(one[0])
    assert one[1] == []
