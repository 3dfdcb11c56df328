import os
from pathlib import Path
from threading import Event, Thread

import pytest

from accel.system.cpu import local_ranks as module
from accel.system.cpu.local_ranks import RankCores, core_share, local_rank, local_ranks, neighbours_first
from accel.system.machine import cores

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")


@pytest.mark.parametrize("ranks", range(1, 9))
def test_shares_are_disjoint_and_even(ranks: int) -> None:
    allowed = [7, 3, 5, 0, 1, 2, 9, 4]
    shares = [core_share(allowed, rank, ranks) for rank in range(ranks)]
    assert [core for share in shares for core in share] == allowed
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert core_share(allowed[: ranks - 1], 0, ranks) == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "5", "WORLD_SIZE": "8"}, (1, 2)),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, (3, 4)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"LOCAL_WORLD_SIZE": "none", "LOCAL_RANK": ""}, (0, 1)),
        ({"RANK": "5", "LOCAL_WORLD_SIZE": "2"}, (1, 2)),
    ],
)
def test_ranks_of_this_machine(environ: dict[str, str], expected: tuple[int, int]) -> None:
    assert (local_rank(environ), local_ranks(environ)) == expected


def test_threads_of_a_core_are_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core in range(4):  # 0 and 2 are one physical core, 1 and 3 the other
        folder = tmp_path / f"cpu{core}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n")
        (folder / "core_id").write_text(f"{core % 2}\n")
    monkeypatch.setattr(module, "TOPOLOGY", tmp_path)
    assert neighbours_first([0, 1, 2, 3]) == [0, 2, 1, 3]
    monkeypatch.setattr(module, "TOPOLOGY", tmp_path / "none")
    assert neighbours_first([3, 1]) == [1, 3]


@linux
def test_all_threads_move_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before, rank_cores, seen, ready, end = sorted(os.sched_getaffinity(0)), RankCores(), list[set[int]](), Event(), Event()

    def wait() -> None:
        ready.set()
        end.wait()
        seen.append(os.sched_getaffinity(0))

    thread = Thread(target=wait)
    thread.start()
    ready.wait()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    try:
        rank_cores.move(before[:1], is_split=True)
        assert os.sched_getaffinity(0) == {before[0]}
        assert rank_cores.count() == 1
    finally:
        end.set()
        thread.join()
        rank_cores.move(before, is_split=False)
    assert seen == [{before[0]}]
    assert sorted(os.sched_getaffinity(0)) == before
    assert rank_cores.count() == max(1, cores() // 2)
    assert "2 ranks" in rank_cores.describe()
