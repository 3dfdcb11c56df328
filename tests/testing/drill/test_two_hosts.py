"""Two machines with an agent of torchrun on each, as the guide starts them: a rank is lost, a machine, or what joins the two."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.drill_length import LONG, times
from tests.support.network_namespaces import Host, hosts, lacking
from tests.support.rank_processes import ROOT, shared_cases
from tests.support.torchrun_command import RUN, TORCHRUN, final, inside, noted
from tests.support.waiting import DEADLINE, wait_until

pytestmark = [pytest.mark.costly, pytest.mark.slow]

long = pytest.mark.skipif(not LONG, reason="a long drill: make drill")
RUNS = times(1, 10)
MACHINES = 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Tensor]:
    """What the run ends with where nothing is lost."""
    actual: list[Tensor] = shared_cases("tests.support.ddp_cases", tmp_path_factory)["never_killed"][0]
    return actual


@pytest.fixture
def machines() -> Iterator[tuple[Host, Host]]:
    if why := lacking():
        pytest.skip(why)
    with hosts(debian=True) as both:  # gloo must not tell the other what 127.0.1.1 is
        yield both


def documented() -> tuple[dict[str, str], list[str]]:
    """The variables and the flags with which the documentation starts torchrun on two machines, here with one process on each."""
    page = (ROOT / "docs/guides/several-machines.md").read_text()
    (line,) = [line for line in page.splitlines() if "torchrun --nnodes=2" in line]
    before, after = line.split(" torchrun ")
    flags, _, settings = after.replace("HOST", "one").replace("-node=8", "-node=1").partition(" -m accel.train ")
    assert settings.endswith(" resume=auto")
    return dict(word.split("=") for word in before.split()), flags.split()


class Nodes:
    """The agents, and what they say."""

    def __init__(self, folder: Path, machines: tuple[Host, Host], kills: str, timeout: float) -> None:
        self.folder, self.machines, self.count = folder, machines, 0
        variables, flags = documented()
        self.words = [*TORCHRUN, *flags, *RUN, "resume=auto", f"plugins.ddp.timeout={timeout}"]
        self.where = inside(folder, kills)
        self.env = {**self.where["env"], **variables}
        self.agents = [self.start(machine) for machine in machines]

    def start(self, machine: Host) -> subprocess.Popen[bytes]:
        self.count += 1
        with (self.folder / f"said-{self.count}").open("wb") as log:
            return machine.start(self.words, self.folder, env=self.env, stdout=log, stderr=log)

    def output(self) -> str:
        return "\n".join((self.folder / f"said-{number + 1}").read_text() for number in range(self.count))

    def until(self, done: Callable[[], bool]) -> None:
        """Waits for something that one of the agents will bring about."""

        def look() -> bool:
            assert all(agent.poll() is None for agent in self.agents), self.output()
            return done()

        wait_until(look, self.output, 300)

    def halted(self) -> None:
        self.until(lambda: "halts" in noted(self.folder))

    def go(self) -> None:
        (self.folder / "go").touch()

    def end_with(self, weights: list[Tensor]) -> None:
        assert [agent.wait(300) for agent in self.agents] == [0, 0], self.output()
        final_weights = final(self.folder)
        assert all(map(torch.equal, final_weights, weights))
        assert "Traceback" not in self.output()


def anywhere(number: int) -> str:
    """An update of the 24; the first drill's is the 9th, between two checkpoints."""
    return "9" if number == 0 else str(Random(number).randrange(1, 23))


@pytest.mark.parametrize("power", [False, pytest.param(True, marks=long)])
@pytest.mark.parametrize("number", range(RUNS))
def test_a_machine_that_dies_is_replaced(
    number: int, power: bool, machines: tuple[Host, Host], weights: list[Tensor], tmp_path: Path
) -> None:
    # all its processes are killed at once; without power even the network does not tell, and the other finds out by itself
    nodes = Nodes(tmp_path, machines, f"1:halt@{anywhere(number)}", timeout=10 if power else DEADLINE)
    nodes.halted()
    two = machines[1]
    if power:
        two.ip("link", "set", "cable", "down")
    nodes.agents[1].kill()
    nodes.agents[1].wait()
    nodes.go()
    if power:
        two.ip("link", "set", "cable", "up")
    nodes.agents[1] = nodes.start(two)
    nodes.end_with(weights)
    assert noted(tmp_path).count("goes on") == 2 * MACHINES


@long
@pytest.mark.parametrize("number", range(RUNS))
def test_a_rank_that_dies_begins_anew(number: int, machines: tuple[Host, Host], weights: list[Tensor], tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, machines, f"1:update@{anywhere(number)}", timeout=60)
    nodes.end_with(weights)
    assert noted(tmp_path).count("dies") == 1


@long
@pytest.mark.parametrize("number", range(RUNS))
def test_a_cable_is_pulled_out_and_put_in_again(
    number: int, machines: tuple[Host, Host], weights: list[Tensor], tmp_path: Path
) -> None:
    nodes = Nodes(tmp_path, machines, f"1:halt@{anywhere(number)}", timeout=5)
    nodes.halted()
    machines[1].ip("link", "set", "cable", "down")
    nodes.go()
    nodes.until(lambda: nodes.output().count("has lost another rank") == MACHINES)
    machines[1].ip("link", "set", "cable", "up")
    nodes.end_with(weights)


def test_two_agents_of_one_machine(weights: list[Tensor], tmp_path: Path) -> None:
    # at two addresses of the loopback: what can be seen of two machines where they are not to be had
    if not lacking():
        pytest.skip("there are two hosts here, which show more than two addresses of one")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    variables, flags = documented()
    where: dict[str, Any] = inside(tmp_path, "1:update@9")
    where["env"] |= variables
    flags = [flag.replace("one:29400", f"127.0.0.1:{port}") for flag in flags]
    with ExitStack() as cleanup:
        agents = []
        for number in (1, 2):
            agent = subprocess.Popen([*TORCHRUN, *flags, f"--local-addr=127.0.0.{number}", *RUN, "resume=auto"], **where)
            cleanup.callback(agent.wait)
            cleanup.callback(agent.terminate)  # it ends what it has started
            agents.append(agent)
        assert [agent.wait(300) for agent in agents] == [0, 0]
    assert noted(tmp_path).count("dies") == 1
    assert all(map(torch.equal, final(tmp_path), weights))


def test_nothing_of_the_hosts_is_left() -> None:
    if why := lacking():
        pytest.skip(why)
    started, command = [], ["sh", "-c", "sleep 600 & echo $$; exec sleep 600"]
    with suppress(KeyError), hosts() as (one, two):
        for host in (one, two):
            started.append(host.start(command, Path("/"), stdout=subprocess.PIPE))
            assert started[-1].stdout.readline() == b"1\n", "the first process of its own"
        raise KeyError
    for process in started:
        assert process.communicate(timeout=DEADLINE) == (b"", None), "its output ends when nobody holds it any more"
    assert not any(Path(f"/proc/{host.holder}").exists() for host in (one, two))
