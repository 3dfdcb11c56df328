import pytest

from accel.system.cpu.thread_spin import SHORT_SPIN, USER_VARIABLES, describe_spin, has_short_spin, shorten_spin


def test_it_is_short_where_the_user_set_nothing() -> None:
    environ = {"OMP_NUM_THREADS": "2"}
    assert shorten_spin(environ, loaded=False)
    assert environ == {"OMP_NUM_THREADS": "2", **SHORT_SPIN}
    assert describe_spin(environ) == "short"
    assert has_short_spin(environ)
    assert not shorten_spin(environ, loaded=False), "a second time there is nothing to do"


@pytest.mark.parametrize("name", USER_VARIABLES)
def test_what_the_user_has_set_stays(name: str) -> None:
    environ = {name: "7"}
    assert not shorten_spin(environ, loaded=False)
    assert environ == {name: "7"}
    assert describe_spin(environ) == f"{name}=7"


def test_after_torch_it_is_too_late() -> None:
    environ: dict[str, str] = {}
    assert not shorten_spin(environ)
    assert environ == {}
    assert "before accel" in describe_spin(environ)


@pytest.mark.parametrize(
    ("environ", "short"),
    [
        ({"OMP_WAIT_POLICY": "passive"}, True),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, False),
        ({"GOMP_SPINCOUNT": "0"}, True),
        ({"GOMP_SPINCOUNT": "infinity"}, False),
        ({"GOMP_SPINCOUNT": "300000"}, False),
        ({}, False),
    ],
)
def test_what_counts_as_short(environ: dict[str, str], short: bool) -> None:
    assert has_short_spin(environ) is short
