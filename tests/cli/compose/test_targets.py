"""What `_target_` may name: a plugin where a plugin belongs, a Trainer where the task does, and nothing else is ever called."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import accel
from accel.errors import ConfigError
from accel.schema import source_text
from accel.schema.signature import REQUIRED
from accel.schema.signature_reader import read_signature
from accel.values import describe_kind

MINE = '''
from typing import Any
import {extra}
from accel import Trainer
from accel.tasks.digits import Digits

class MyTrainer(Trainer):
    """Mine.

    Args:
        root: where it is.
    """
    def __init__(self, root: str, model: str = "small", **run: Any) -> None:
        super().__init__(**run)

class Wide(Digits):
    pass

class Deaf(Digits):
    def __init__(self, **run: Any) -> None:
        super().__init__()

class Closed(Trainer):
    def __init__(self, root: str = "x") -> None:
        super().__init__()

def make(bases):
    return type("Made", bases, {{}})

Made = make((Digits,))

def call_me(**_: Any) -> None:
    raise SystemExit("called")

class Bystander:
    def __init__(self, **_: Any) -> None:
        raise SystemExit("called")
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `mine` in the current directory."""
    (tmp_path / "mine.py").write_text(MINE.format(extra="os"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "target", ["mine.call_me", "mine.Bystander", "os.system", "torch.load", "numpy.load", "pathlib.Path.write_text",
               "builtins.open", "subprocess.Popen", "accel.plugins.amp.AMP", "accel.Trainer", "accel.parts.Optim"],
)  # fmt: skip
def test_only_a_trainer_is_a_task(target: str, mine: Path) -> None:
    with pytest.raises(ConfigError, match=target.replace(".", r"\.")):
        accel.compose([f"task._target_={target}"])
    assert "mine" not in sys.modules, "reading its text was enough"


@pytest.mark.parametrize(
    "target", ["mine.call_me", "mine.Bystander", "mine.MyTrainer", "os.system", "accel.parts.Optim", "accel.parts.part.Part",
               "shutil.rmtree"],
)  # fmt: skip
def test_only_a_plugin_is_a_plugin(target: str, mine: Path) -> None:
    with pytest.raises(ConfigError, match=target.replace(".", r"\.")):
        accel.compose([f"+plugins.x._target_={target}"])


@pytest.mark.slow
def test_a_task_of_the_users(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.root is missing: add task\.root=DIR"):
        accel.compose(["task._target_=mine.MyTrainer"])
    config = accel.compose(["task._target_=mine.MyTrainer", "task.root=here"])
    assert config.task.settings == {"root": "here"}, "the settings of the default task stay behind"
    with pytest.raises(ConfigError, match="rot is no setting of MyTrainer; did you mean 'root'"):
        accel.compose(["task._target_=mine.MyTrainer", "task.rot=here"])
    with pytest.raises(ConfigError, match=r"epochs is a setting of the run: epochs=\.\.\."):
        accel.compose(["task._target_=mine.MyTrainer", "task.root=x", "task.epochs=3"])
    with pytest.raises(ConfigError, match=r"mine\.py has no class 'MyTriner'; did you mean 'MyTrainer'"):
        accel.compose(["task._target_=mine.MyTriner"])
    assert "mine" not in sys.modules


def test_a_task_that_inherits_its_settings(mine: Path) -> None:
    assert accel.compose(["task._target_=mine.Wide", "task.width=8"]).task.settings == {"width": 8}
    with pytest.raises(ConfigError, match=r"task\.width must be a whole number from 1, not 0"):
        accel.compose(["task._target_=mine.Wide", "task.width=0"])


def test_a_task_that_cannot_be_told_the_settings_of_the_run(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.Closed: its __init__ must take \*\*run"):
        accel.compose(["task._target_=mine.Closed"])
    with pytest.raises(ConfigError, match=r"mine\.Deaf: its __init__ must pass on its arguments: super\(\).__init__\(\*\*run\)"):
        accel.compose(["task._target_=mine.Deaf", "epochs=3"]).trainer()
    with pytest.raises(ConfigError, match=r"=accel\.Trainer: it has no model and no data; name a subclass of it"):
        accel.compose(["task._target_=accel.Trainer"])


def test_a_class_made_at_run_time_is_imported(mine: Path) -> None:
    assert accel.compose(["task._target_=mine.Made"]).task.target == "mine.Made"
    assert "mine" in sys.modules


def test_a_base_may_come_by_a_star(mine: Path) -> None:
    (mine / "stars.py").write_text("from os.path import *\nfrom mine import *\n")
    (mine / "tasks.py").write_text("from stars import *\n\nclass Starred(MyTrainer):\n    pass\n")
    assert list(read_signature("tasks.Starred").settings) == ["root", "model"]
    assert "tasks" not in sys.modules


def test_text_that_is_no_python_is_told_with_its_line(mine: Path) -> None:
    (mine / "mine.py").write_text("class A(:\n")
    with pytest.raises(ConfigError, match=r"mine\.py, line 1: invalid syntax"):
        accel.compose(["task._target_=mine.A"])


PLUGIN = '''
"""Two clips."""
import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Optional

import accel.parts as parts
from accel import values
from accel.system.machine import Need
from accel.parts import Clip as Base
from accel.values import Bounds

Kind = Literal["a", "b"]
Small = Annotated[int, Bounds("a number below 10", high=10, open_high=True)]

@dataclass(eq=False)
class One(Base):
    """One.

    Args:
        kind: which of
            the two.
    """
    needs: ClassVar[tuple[Need, ...]] = (Need("package:nowhere", why="it does", extra="demo"),)
    count: ClassVar[int] = 3
    kind: Kind = "a"
    small: Small = 2 * 3
    maybe: Optional["int"] = None
    positive: values.Positive = 2**-3
    names: list[str] = field(default_factory=list)
    hidden: int = field(default=3, init=False)
    other: "SomethingElse" = None

@dataclasses.dataclass(eq=False)
class Two(One):
    small: Small = 1
    must: bool = dataclasses.field(default=True)

@dataclass(eq=False)
class Dotted(parts.Clip):
    x: int
'''


def test_a_signature_is_read_from_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    one, two, dotted = (read_signature(f"clips.{name}") for name in ("One", "Two", "Dotted"))
    assert (one.part, two.part, dotted.part) == ("Clip", "Clip", "Clip")
    assert one.summary == "Two clips."
    assert [(item.name, describe_kind(item.kind)) for item in one.settings.values()] == [
        ("kind", "a or b"), ("small", "a number below 10"), ("maybe", "a whole number, or null"), ("positive", "a number above 0"),
        ("names", "a list"), ("other", "anything"),
    ]  # fmt: skip
    assert [one.settings[name].default for name in ("kind", "small", "maybe", "positive")] == ["a", 6, None, 0.125]
    assert one.settings["kind"].about == "which of the two."
    assert list(two.settings) == [*one.settings, "must"]
    assert two.settings["small"].default == 1
    assert two.needs == one.needs
    assert one.needs[0].extra == "demo"
    assert dotted.settings["x"].default is REQUIRED
    assert "clips" not in sys.modules


def test_text_and_class_agree() -> None:
    """What is read from the text of every plugin is what the class itself says."""
    from dataclasses import fields
    from typing import get_type_hints

    from accel.engine.select_parts import part_name
    from accel.schema import plugin_registry as catalogue

    for name in catalogue.names():
        page, plugin = catalogue.plugin_signature(name), catalogue.load(name)
        hints = get_type_hints(plugin, include_extras=True)
        assert {item.name: (item.kind, item.default) for item in page.settings.values()} == {
            one.name: (hints[one.name], one.default) for one in fields(plugin) if one.init
        }, name
        assert page.needs == plugin.needs
        assert page.part == part_name(plugin())


def test_a_module_that_is_written_after_a_look_for_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = tmp_path.stat()
    assert source_text.locate("mine_too") is None
    (tmp_path / "mine_too.py").write_text("")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if within one tick of the clock of the disk
    assert source_text.locate("mine_too") == tmp_path / "mine_too.py"
