"""Old public paths: each still imports, warns at the user's line with the new path, and is the same object."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module, reload
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import pytest

import accel
from accel.errors import MovedWarning
from accel.schema import source_text
from accel.schema.signature_reader import read_signature
from accel.system.deprecation.moved_modules import MOVED
from accel.system.deprecation.old_paths import GONE_IN, current_path, deprecated_names
from accel.system.machine import Need

ROOT = Path(__file__).parents[2]
RENAMED = {
    "accel.data.batches.Batches": "accel.data.batches.base.Batches",
    "accel.data.batches.Mapped": "accel.data.batches.mapped.MapBatches",
    "accel.data.batches.Ready": "accel.data.batches.ready.ReadyBatches",
    "accel.data.batches.Streamed": "accel.data.batches.iterable.IterableBatches",
    "accel.data.remote.below": "accel.data.remote.fsspec_client.walk",
    "accel.data.remote.info": "accel.data.remote.fsspec_client.file_info",
    "accel.data.remote.Info": "accel.data.remote.fsspec_client.FileInfo",
    "accel.data.remote.inside": "accel.data.remote.fsspec_client.list_names",
    "accel.data.remote.is_url": "accel.data.remote.fsspec_client.is_url",
    "accel.data.remote.matching": "accel.data.remote.fsspec_client.glob_urls",
    "accel.data.remote.ranged": "accel.data.remote.fsspec_client.read_range",
    "accel.data.splits.packed_at": "accel.data.splits.open_split.open_packed",
    "accel.data.splits.shards_of": "accel.data.splits.open_split.open_shards",
    "accel.data.splits.split_at": "accel.data.splits.open_split.open_split",
    "accel.testing.drill.update_log.Pulse": "accel.testing.drill.update_log.UpdateLog",
}
"""Names of packages that bear the name of a module that has moved, and names that were renamed in their module."""


def own_names(module: ModuleType) -> list[str]:
    """Return the public names that are defined in `module` itself."""
    return [name for name, value in vars(module).items() if name[0] != "_" and getattr(value, "__module__", "") == module.__name__]


@pytest.fixture
def fresh() -> None:
    """Forget the stand-ins, as in a process that has not imported any."""
    for name in MOVED:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("old", "new"), MOVED.items(), ids=lambda path: path)
def test_every_old_module_hands_on_the_same_objects_and_warns(old: str, new: str, fresh: None) -> None:
    moved, target = import_module(old), import_module(new)
    for name in own_names(target):
        with pytest.warns(MovedWarning, match=rf"^{old}\.{name} is now {new}\.{name};") as caught:
            assert getattr(moved, name) is getattr(target, name)
        assert [warning.filename for warning in caught] == [__file__], "one warning, at the line that asks"


@pytest.mark.parametrize(("old", "new"), RENAMED.items(), ids=lambda path: path)
def test_every_old_name_of_a_package_hands_on_and_warns(old: str, new: str) -> None:
    (module, _, name), (home, _, attribute) = old.rpartition("."), new.rpartition(".")
    with pytest.warns(MovedWarning, match=f"^{old} is now {new};"):
        assert getattr(import_module(module), name) is getattr(import_module(home), attribute)


@pytest.mark.parametrize("old", MOVED)
def test_no_row_names_a_module_that_exists(old: str) -> None:
    path = [str(ROOT / "accel")]
    for part in old.split(".")[1:-1]:
        path = [f"{folder}/{part}" for folder in path]
    assert PathFinder.find_spec(old, path) is None, f"{old} exists, so that its row is never read"


def test_every_row_names_a_module_that_has_not_moved_on() -> None:
    assert not set(MOVED) & set(MOVED.values())
    assert [new for new in MOVED.values() if source_text.locate(new) is None] == []


def test_the_rows_go_with_the_release_that_the_warning_names() -> None:
    numbers = [tuple(int(part) for part in text.split(".")[:2]) for text in (accel.__version__, GONE_IN)]
    assert numbers[0] < numbers[1], f"accel {GONE_IN} is there: take the rows away"


@pytest.mark.parametrize("name", ["accel.machines", "accel.models.vit", "accel.data.nothing", "accel.drill.drill.more"])
def test_a_path_that_never_was_is_still_an_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name.replace(".", r"\.")):
        import_module(name)


def test_a_name_that_never_was_is_still_an_error(fresh: None) -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'Needs' from 'accel\.machine'"):
        from accel.machine import Needs  # noqa: F401
    with pytest.raises(AttributeError, match=r"'accel\.data\.batches' has no attribute 'Mappd'"):
        import_module("accel.data.batches").Mappd  # noqa: B018


SCRIPT = """\
for _ in range(3):
    from accel.machine import Need
from accel.machine import cores
import accel.faults
accel.faults.point("x")
from accel.models import resnet
resnet.small
from accel.testing.check import *
"""


def python(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `text` as a script, in an empty folder."""
    (tmp_path / "script.py").write_text(text)
    return subprocess.run([sys.executable, *options, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_script_is_warned_once_for_each_of_its_imports(tmp_path: Path) -> None:
    done = python(tmp_path, SCRIPT)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "MovedWarning" in line]
    numbers = [int(line.split(":")[1]) for line in warned]
    assert numbers[:4] == [2, 3, 5, 7], done.stderr
    assert set(numbers[4:]) == {8}, "the star once for each name"
    assert warned[0].endswith("script.py:2: MovedWarning: accel.machine.Need is now accel.system.machine.Need; "
                              f"the old name goes in accel {GONE_IN}")  # fmt: skip


@pytest.mark.slow
def test_a_module_from_an_old_package_warns_once(tmp_path: Path) -> None:
    done = python(tmp_path, "import accel.tasks.models.gpt\nfrom accel.models import gpt\n", "-W", "always")
    assert [line.split(":")[1] for line in done.stderr.splitlines() if "MovedWarning" in line] == ["2"], done.stderr


def test_where_warnings_are_errors_the_import_raises_at_the_users_line(tmp_path: Path) -> None:
    done = python(tmp_path, "import accel\nfrom accel.machine import Need\n", "-W", "error::DeprecationWarning")
    assert done.returncode == 1
    assert 'script.py", line 2, in <module>' in done.stderr
    assert "accel.errors.MovedWarning: accel.machine.Need is now accel.system.machine.Need" in done.stderr


def test_only_what_is_asked_for_is_imported(tmp_path: Path) -> None:
    quick = "import sys, accel; print(sorted(name for name in sys.modules if name.startswith('accel')), 'torch' in sys.modules)"
    done = python(tmp_path, quick)
    assert done.stdout == "['accel'] False\n"
    done = python(
        tmp_path, "import sys\nfrom accel.machine import Need\nfrom accel.faults import point\nprint('torch' in sys.modules)"
    )
    assert done.stdout == "False\n"


def test_a_pickle_with_an_old_path_loads() -> None:
    old = pickle.dumps(Need("cuda")).replace(b"\x8c\x14accel.system.machine", b"\x8c\raccel.machine")
    assert b"accel.machine" in old
    old = pickle.dumps(Need("cuda"), protocol=0).replace(b"accel.system.machine", b"accel.machine")
    with pytest.warns(MovedWarning, match="accel.system.machine.Need"):
        assert pickle.loads(old) == Need("cuda")


def test_text_at_an_old_path_is_read_without_an_import(fresh: None) -> None:
    assert read_signature("accel.drill.pulse.UpdateLog").part == "Watch"
    assert read_signature("accel.parts.group.Group").part == read_signature("accel.parts.window.Group").part
    assert "accel.drill" not in sys.modules
    text = source_text.read("accel.machine")
    assert text is not None
    assert text.module == "accel.system.machine", "relative imports in it mean what they mean there"
    assert current_path("accel.machine") == "accel.system.machine"
    assert current_path("accel.trainer") == "accel.trainer"


def test_a_config_may_name_an_old_path(tmp_path: Path) -> None:
    pulse = ["+plugins.pulse._target_=accel.drill.pulse.Pulse", f"+plugins.pulse.path={tmp_path / 'pulse'}"]
    with pytest.warns(MovedWarning, match=r"accel\.drill\.pulse\.Pulse is now accel\.testing\.drill\.update_log\.UpdateLog"):
        config = accel.compose([*pulse, "epochs=1", "out=null"])
    with pytest.warns(MovedWarning, match=r"^accel\.drill\.pulse\.Pulse is now"):
        config.trainer()


@pytest.mark.slow
def test_the_command_line_shows_that_a_config_names_an_old_path(tmp_path: Path) -> None:
    command = ["-m", "accel.train", "+plugins.pulse._target_=accel.drill.pulse.Pulse", "+plugins.pulse.path=pulse", "dry_run=true"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "accel: warning: accel.drill.pulse.Pulse is now accel.testing.drill.update_log.UpdateLog; the old name goes" in done.stderr
    )


def test_an_attribute_is_renamed_within_a_module_and_into_another() -> None:
    hand_on = deprecated_names("accel.errors", {"Moved": "MovedWarning", "Need": "accel.system.machine.Need"})
    with pytest.warns(MovedWarning, match=r"^accel\.errors\.Moved is now accel\.errors\.MovedWarning;") as caught:
        assert hand_on("Moved") is MovedWarning
    assert caught[0].filename == __file__
    with pytest.warns(MovedWarning, match=r"^accel\.errors\.Need is now accel\.system\.machine\.Need;"):
        assert hand_on("Need") is Need
    with pytest.raises(AttributeError, match=r"'accel\.errors' has no attribute 'Other'"):
        hand_on("Other")


def test_a_name_that_was_renamed_in_a_module_that_moved_warns_once_with_the_last_path(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = import_module("accel.system.machine")
    monkeypatch.setattr(target, "__getattr__", deprecated_names(target.__name__, {"Want": "Need"}), raising=False)
    with pytest.warns(MovedWarning, match=r"^accel\.machine\.Want is now accel\.system\.machine\.Need;") as caught:
        from accel.machine import Want
    assert Want is Need
    assert len(caught) == 1


def test_the_finder_is_installed_once() -> None:
    reload(accel)
    assert len([finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "OldPaths"]) == 1
