"""Jobs that were submitted by an earlier accel go on after it was updated."""

from __future__ import annotations

import pickle

import pytest

from accel.cli.submit.launcher import PACKAGE
from accel.system.machine import importable

pytestmark = pytest.mark.skipif(not importable(PACKAGE), reason="needs the extra slurm")

EARLIER = {
    "words": ["epochs=3", "resume=auto", "out=runs/one"], "again": ["epochs=3", "resume=auto"], "home": "runs/one", "cwd": "/tmp",
    "ranks": 2, "patience": 20, "attempt": 1, "torchrun": None, "until": 0.0, "told": False,
}  # fmt: skip
"""The fields of a job before 0.1.0."""


def test_the_fields_of_an_earlier_job_are_taken_over() -> None:
    from accel.cli.submit.node import Node

    node = Node.__new__(Node)
    node.__setstate__(EARLIER)
    fields = {"arguments": "words", "resume_arguments": "again", "run_directory": "home", "save_seconds": "patience"}
    assert {name: getattr(node, name) for name in fields} == {name: EARLIER[old] for name, old in fields.items()}
    later = node.checkpoint().function
    assert (later.attempt, later.ranks, later.stay_until, later.torchrun_signalled) == (2, 2, 0.0, False)
    again = pickle.loads(pickle.dumps(later))
    assert vars(again) == vars(later)


def test_a_job_that_waits_in_the_queue_is_read() -> None:
    from accel.cli.submit.node import Node

    node = Node.__new__(Node)
    node.__dict__.update(EARLIER)
    text = pickle.dumps(node, protocol=0).replace(b"accel.cli.submit.node", b"accel.cli.node")
    with pytest.warns(DeprecationWarning, match="accel.cli.submit.node"):
        job = pickle.loads(text)
    assert isinstance(job, Node)
    assert (job.run_directory, job.save_seconds) == ("runs/one", 20)
