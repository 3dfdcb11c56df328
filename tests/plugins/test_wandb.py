from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accel.plugins.wandb import WandB, is_logged_in
from accel.testing import fit_toy
from tests.support.wandb_files import offline_runs, records

pytest.importorskip("wandb", reason="needs the extra wandb")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def tracker(**settings: Any) -> WandB:
    return WandB(every=2, mode="offline", **settings)


def updates(out: Path) -> dict[str, list[float]]:
    return {name: [row["_step"] for row in rows] for name, rows in offline_runs(out).items()}


def test_settings_are_its_config_and_the_result_its_summary(tmp_path: Path) -> None:
    fit_toy([tracker(tags=["first"], project="mine")], out=tmp_path / "run")
    (file,) = tmp_path.glob("run/wandb/offline-run-*/*.wandb")
    config, summary, run = {}, {}, None
    for record in records(file):
        kind = record.WhichOneof("record_type")
        run = record.run if kind == "run" else run
        config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
    assert run is not None
    assert (run.project, run.display_name, list(run.tags)) == ("mine", "run", ["first"])
    assert {"epochs": 2, "task.dropout": 0.1, "plugins.wandb.every": 2}.items() <= config.items()
    assert config["accel.command"]
    assert summary["result.updates"] == 12
    remarks = json.loads((tmp_path / "run/summary.json").read_text())["remarks"]
    assert f"wandb: offline; upload it with wandb sync {file.parent}" in remarks


@pytest.mark.slow
def test_a_resumed_run_has_one_directory_unless_the_other_is_on_a_server(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_toy([tracker()], out=out, checkpoint_every=2, stop=9)
    (first,) = updates(out)
    fit_toy([tracker()], resume=out)
    (second,) = updates(out)
    assert first[-8:] == second[-8:], "the key of the run is kept"
    (file,) = out.glob("wandb/offline-run-*/*.wandb")
    file.with_name(f"{file.name}.synced").touch()
    fit_toy([tracker()], resume=out, epochs=3)
    after = updates(out)
    assert after.pop(second) == list(range(1, 13)), "what is on a server stays as it is"
    ((third, steps),) = after.items()
    assert third[-8:] != second[-8:]
    assert steps == list(range(1, 19))


@pytest.mark.slow
def test_a_network_that_is_away_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    fit_toy([WandB(mode="online", patience=0.5)], out=tmp_path / "run")
    (remark,) = [text for text in json.loads((tmp_path / "run/summary.json").read_text())["remarks"] if "wandb" in text]
    assert remark.startswith("wandb has not taken all points (")
    monkeypatch.undo()
    fit_toy([tracker()], resume=tmp_path / "run")
    assert list(updates(tmp_path / "run").values()) == [list(range(1, 13))]


def test_who_has_not_logged_in_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not is_logged_in()
    assert WandB().is_offline()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0\n")
    (tmp_path / "netrc").chmod(0o600)
    assert is_logged_in()
    assert not WandB().is_offline()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandB().is_offline()
