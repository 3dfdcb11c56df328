from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._C._autograd import _profiler_enabled

from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.profiler import Profiler
from accel.report.result import Section
from accel.system.clock import OTHER
from accel.testing import fit_toy
from accel.testing.toy_run import Spy, Toy


def profiled(out: Path | None = None, epochs: int = 2, **settings: Any) -> tuple[Section, list[str]]:
    """The table and the names of the trace's events."""
    result = Toy(plugins=[Profiler(**settings), AdamW()], watch=(), batch_size=4, epochs=epochs, out=out).fit()
    assert not _profiler_enabled()
    if out is None:
        return result.sections["profiler"], []
    (file,) = (out / "profile").iterdir()
    assert f"profile/{file.name}" in result.files
    with gzip.open(file) as stream:
        return result.sections["profiler"], [event.get("name", "") for event in json.load(stream)["traceEvents"]]


def test_the_table_and_the_trace_are_of_the_updates_asked_for(tmp_path: Path) -> None:
    section, events = profiled(tmp_path, first=3, updates=4, top=1000)
    assert section.title.endswith("per update (3 to 6)")
    calls = {row["operator"]: row["calls"] for row in section.rows}
    assert calls["aten::addmm"] == 2
    assert calls["aten::_fused_adamw_"] == 1
    assert events.count("aten::_fused_adamw_") == 4
    times = [row["self ms"] for row in section.rows]
    assert times == sorted(times, reverse=True)
    assert sum(float(row["share percent"]) for row in section.rows) == pytest.approx(100, abs=0.5)
    assert (tmp_path / "profile").glob("updates-00000003-to-00000006.json.gz")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sections"]["profiler"]["rows"] == section.rows


def test_the_first_update_and_a_run_that_ends_before() -> None:
    assert profiled(first=1, updates=1)[0].title.endswith("(1 to 1)")
    assert profiled(first=11, updates=5)[0].title.endswith("(11 to 12)")
    assert len(profiled(first=2, updates=1, top=3)[0].rows) == 3


def test_a_resumed_run_is_looked_at_again(tmp_path: Path) -> None:
    fit_toy([Profiler(first=2, updates=1)], out=tmp_path, checkpoint_every=1, stop=5)
    fit_toy([Profiler(first=2, updates=1)], resume=tmp_path)
    names = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert names == ["updates-00000002-to-00000002.json.gz", "updates-00000006-to-00000006.json.gz"]


def test_shapes_memory_and_stacks_stand_in_the_trace(tmp_path: Path) -> None:
    def text(**settings: bool) -> str:
        out = tmp_path / "-".join(settings)
        profiled(out, first=2, updates=1, **settings)
        with gzip.open(next((out / "profile").iterdir())) as stream:
            return stream.read().decode()

    assert "Input Dims" in text(shapes=True)
    assert "[memory]" in text(memory=True)
    assert "accel/parts/update.py" in text(stacks=True)
    plain = text()
    assert "Input Dims" not in plain
    assert "[memory]" not in plain


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")  # without a directory there is no trace
@pytest.mark.parametrize("settings", [{}, {"memory": True, "shapes": True, "stacks": True}])
@pytest.mark.slow
def test_the_run_keeps_its_bits(settings: dict[str, bool]) -> None:
    assert fit_toy([Profiler(first=1, updates=12, **settings), AdamW()]).equals(fit_toy([AdamW()]))  # type: ignore[arg-type]


def test_after_an_error_nothing_is_left_on() -> None:
    class Broken(Toy):
        def loss(self, model: Any, batch: Any) -> Any:
            loss = super().loss(model, batch)
            if self.calls == 4:
                raise RuntimeError("mine")
            return loss

    with pytest.raises(RuntimeError, match="mine"):
        Broken(plugins=[Profiler(first=3)], watch=(), batch_size=4).fit()
    assert not _profiler_enabled()


def test_writing_the_trace_is_booked_under_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from accel.plugins import profiler as module

    now = 0.0

    def export(profile: Any, file: Path) -> None:
        nonlocal now
        now += 1

    monkeypatch.setattr(module, "export_trace", export)
    for user in ("accel.system.clock", "accel.engine.training_run"):
        monkeypatch.setattr(f"{user}.perf_counter", lambda: now)
    spy = Spy()
    Toy(plugins=[Profiler(first=2, updates=1), spy], watch=(), batch_size=4, out=tmp_path).fit()
    assert [phase for phase, seconds in enumerate(spy.run.clock.spent) if seconds] == [OTHER]


def test_another_profiler_around_the_run_is_refused() -> None:
    with torch.profiler.profile(), pytest.raises(ConfigError, match="torch's profiler is running already"):
        fit_toy([Profiler()])


def test_what_has_no_effect_is_said() -> None:
    with pytest.warns(AccelWarning, match=r"profiler sees nothing: profiler.first=13, and the whole run has 12 updates"):
        fit_toy([Profiler(first=13)])
    with pytest.warns(AccelWarning, match=r"profiler.stacks has no effect without out=DIR"):
        fit_toy([Profiler(stacks=True, first=2, updates=1)])


def test_nothing_is_read_on_the_host() -> None:
    run = fit_toy([Profiler(first=2, updates=2)], counts=True)
    assert run.spy.reads.count == 0, run.spy.reads.places
