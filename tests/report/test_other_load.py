import pytest

from accel.report.other_load import busy_remark

SPIN, SETTING = "OMP_WAIT_POLICY=ACTIVE", "Backend(threads={})"


@pytest.mark.parametrize(
    ("percent", "cores", "threads", "spin", "remedies"),
    [
        (50.0, 2, 2, SPIN, [SPIN, "Backend(threads=1)"]),
        (50.0, 2, 2, "", ["Backend(threads=1)"]),
        (12.0, 8, 8, "", ["Backend(threads=7)"]),
        (12.0, 2, 2, "", []),
        (90.0, 4, 1, SPIN, []),
        (100.0, 4, 2, "", ["Backend(threads=1)"]),
    ],
)
def test_the_remark_says_what_to_type(percent: float, cores: int, threads: int, spin: str, remedies: list[str]) -> None:
    remark = busy_remark(percent, cores, threads, spin, SETTING)
    assert remark.startswith(f"the machine was busy: other processes took {percent:.0f} % of its cores")
    assert [word in remark for word in (SPIN, "Backend(threads=")] == [
        any(word in remedy for remedy in remedies) for word in (SPIN, "Backend(threads=")
    ]
    assert all(remedy in remark for remedy in remedies)
