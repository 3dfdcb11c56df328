"""From figures to a verdict and remedies, without timing anything: the known cases, each with its verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accel.compare import SpeedRatio
from accel.diagnose.decision.figures import BatchFit, CodeLine, Experiment, OperatorMix, RankTimes, RunFigures, fit_batches
from accel.diagnose.decision.prediction import PREDICTIONS
from accel.diagnose.decision.remedies import Possible, rank_remedies
from accel.diagnose.decision.time_split import PARTS, split_time
from accel.diagnose.decision.timing import Range, Timing
from accel.diagnose.decision.verdict_details import decide
from accel.report.run_verdict import KINDS


def near(value: float) -> Timing:
    """Twelve measurements within 2 % of a value."""
    return Timing(tuple(value * (1 + 0.004 * (number % 6 - 2.5)) for number in range(12)))


def figures(**changed: Any) -> RunFigures:
    """A run on two cores that computes: 64 samples, 100 ms an update, of which 4 ms do not grow with the batch."""
    plain = RunFigures(
        device="cpu", cores=2, threads=2, samples=64, step=near(0.100), wait=near(0.001), same_batch=near(0.099),
        same_batch_busy=0.19, batch_size=64, loader=near(0.001), loader_busy=0.001, loader_idle=0.0,
        phases={"forward": 0.034, "backward": 0.060, "update": 0.005},
        fit=BatchFit(0.004, 0.09 / 64, (32, 64, 128), (0.049, 0.094, 0.184)),
        by_threads={1: near(0.180), 2: near(0.099)},
    )  # fmt: skip
    return replace(plain, **changed)


CASES: dict[str, tuple[RunFigures, str, str]] = {
    "gpt": (
        figures(operators=OperatorMix(400, 0.9)),
        "compute-bound",
        "products and convolutions take 90 % of it, operators that move memory the others",
    ),
    "element-wise operations": (
        figures(operators=OperatorMix(40, 0.03)),
        "compute-bound",
        "operators that move memory take 97 % of it, products and convolutions the others",
    ),
    "element-wise operations alone": (
        figures(operators=OperatorMix(40, 0.001)),
        "compute-bound",
        "; operators that move memory take 100 % of it",
    ),
    "thousands of operators": (
        figures(fit=BatchFit(0.090, 0.004 / 64, (32, 64, 128), (0.092, 0.094, 0.098)), operators=OperatorMix(10_012, 0.1)),
        "host-bound",
        "forward and backward pass call 10,012 operators",
    ),
    "digits": (
        figures(
            step=near(0.0042), wait=near(0.0001), same_batch=near(0.0041), samples=32, batch_size=32,
            phases={"forward": 0.0012, "backward": 0.0022, "update": 0.0007},
            fit=BatchFit(0.0022, 0.0012 / 32, (16, 32, 64), (0.0028, 0.0034, 0.0046)), by_threads={},
        ),
        "host-bound",
        "as long as 59 samples",
    ),
    "pictures by Pillow": (
        figures(step=near(0.250), wait=near(0.151), loader=near(0.150), loader_busy=0.149, loader_idle=0.001),
        "data-bound",
        "keeps 1.0 of 2 cores busy",
    ),
    "the same through resident": (figures(wait=near(0.002), step=near(0.101)), "compute-bound", ""),
    "a sample that sleeps": (
        figures(step=near(0.355), wait=near(0.256), loader=near(0.256), loader_busy=0.01, loader_idle=0.24),
        "data-bound",
        "idle for 96 % of it",
    ),
    "reads on the host": (
        figures(
            step=near(0.020), same_batch=near(0.019), phases={"forward": 0.014, "backward": 0.004, "update": 0.001},
            fit=BatchFit(0.015, 0.003 / 64, (32, 64, 128), (0.0165, 0.018, 0.021)), host_reads={"net.py:7 scale.item()": 64.0},
            by_threads={},
        ),
        "host-bound",
        "64 numbers are read on the host in an update, most in net.py:7",
    ),
    "16 threads on 2 cores": (
        figures(
            threads=16, step=near(0.310), wait=near(0.001), same_batch=near(0.309),
            phases={"forward": 0.1, "backward": 0.19, "update": 0.019}, by_threads={1: near(0.18), 2: near(0.1), 16: near(0.31)},
        ),
        "thread-bound",
        "16 threads on 2 cores take 3.1 times as long as 2",
    ),
    "a slow rank": (
        figures(
            step=near(0.26), same_batch=near(0.259), phases={"forward": 0.034, "backward": 0.22, "update": 0.005},
            ranks=RankTimes((0.09, 0.25), (0.0, 0.0), (0.254, 0.255)), by_threads={},
        ),
        "straggler-bound",
        "rank 1 computes 2.8 times as long as the others",
    ),
    "a rank that reads slowly": (
        figures(step=near(0.3), ranks=RankTimes((0.09, 0.092), (0.01, 0.25), (0.094, 0.095)), by_threads={}),
        "straggler-bound",
        "rank 1 reads 25.0 times as long as the others",
    ),
    "a rank that reads slowly, as it sees it itself": (
        figures(
            step=near(0.35), wait=near(0.249), loader=near(0.25), by_threads={},
            ranks=RankTimes((0.09, 0.092), (0.01, 0.25), (0.094, 0.095), rank=1),
        ),
        "straggler-bound",
        "rank 1 reads 25.0 times as long as the others",
    ),
    "ranks that all read slowly": (
        figures(
            step=near(0.35), wait=near(0.249), loader=near(0.25), by_threads={},
            ranks=RankTimes((0.09, 0.092), (0.24, 0.25), (0.094, 0.095), rank=1),
        ),
        "data-bound",
        "samples/s",
    ),
    "a rank whose optimiser is slow, as it sees it itself": (
        figures(
            step=near(0.3), same_batch=near(0.299), phases={"forward": 0.034, "backward": 0.060, "update": 0.205},
            ranks=RankTimes((0.09, 0.092), (0.0, 0.0), (0.3, 0.094), rank=1, update=(0.005, 0.205)), by_threads={},
        ),
        "straggler-bound",
        "rank 1 moves its weights 41.0 times as long as the others",
    ),
    "a rank whose optimiser is slow, as another sees it": (
        figures(
            step=near(0.3), same_batch=near(0.299), phases={"forward": 0.034, "backward": 0.260, "update": 0.005},
            ranks=RankTimes((0.09, 0.092), (0.0, 0.0), (0.294, 0.094), update=(0.005, 0.205)), by_threads={},
        ),
        "straggler-bound",
        "rank 1 moves its weights 41.0 times as long as the others",
    ),
    "a disk that is slow": (
        figures(step=near(0.4), wait=near(0.3), loader=near(0.3), loader_busy=0.02, loader_idle=0.28),
        "data-bound",
        "reading waits itself",
    ),
    "a slow augmentation of samples": (
        figures(step=near(0.3), wait=near(0.2), loader=near(0.2), loader_busy=0.39, loader_idle=0.0),
        "data-bound",
        "keeps 1.9 of 2 cores busy",
    ),
    "a tiny batch": (
        figures(step=near(0.002), wait=near(0.0001), same_batch=near(0.0019), samples=1, batch_size=1,
                phases={"forward": 0.0008, "backward": 0.001, "update": 0.0001},
                fit=BatchFit(0.0017, 0.0001, (1, 2), (0.0018, 0.0019)), by_threads={}),
        "host-bound",
        "as long as 17 samples",
    ),
    "waits for the device on CUDA": (
        figures(device="cuda", host=0.05, phases={"forward": 0.01, "backward": 0.012, "update": 0.002}, same_batch=near(0.05),
                step=near(0.051), wait=near(0.001), fit=None, by_threads={}, host_reads={"loss.py:3 float(loss)": 4.0}),
        "host-bound",
        "4 numbers are read on the host in an update, most in loss.py:3",
    ),
    "a slow network": (
        figures(
            step=near(0.26), same_batch=near(0.259), phases={"forward": 0.034, "backward": 0.22, "update": 0.005},
            ranks=RankTimes((0.09, 0.092), (0.0, 0.0), (0.254, 0.255)), by_threads={},
        ),
        "communication-bound",
        "",
    ),
    "a slow optimiser": (
        figures(phases={"forward": 0.015, "backward": 0.024, "update": 0.06}, fit=BatchFit(0.002, 0.037 / 64, (), ())),
        "optimiser-bound",
        "1.5 times as long",
    ),
    "evaluations too often": (figures(evaluation=0.4), "evaluation-bound", ""),
    "checkpoints too often": (figures(checkpoint=0.3), "checkpoint-bound", ""),
    "logging each update": (
        figures(watches={"progress": 0.001, "history": 0.3}, lines={"watches": CodeLine("mine.py:9 self.save()", 0.9)}),
        "watch-bound",
        "history takes 300 ms after each update; 90 % of it in mine.py:9 self.save()",
    ),
    "a loop over samples in Python": (
        figures(outside=0.8, fit=BatchFit(0.001, 0.093 / 64, (32, 64), (0.047, 0.094)), host_reads={"net.py:7 x.item()": 64.0}),
        "host-bound",
        "64 numbers are read on the host in an update, most in net.py:7",
    ),
    "copies from pageable memory": (
        figures(device="cuda", host=0.02, phases={"forward": 0.01, "backward": 0.02, "update": 0.005, "transfer": 0.06},
                same_batch=near(0.036), step=near(0.1), wait=near(0.002), fit=None, by_threads={}),
        "transfer-bound",
        "",
    ),
    "kernels that are too small": (
        figures(device="cuda", host=0.03, phases={"forward": 0.003, "backward": 0.006, "update": 0.001}, same_batch=near(0.03),
                step=near(0.031), wait=near(0.001), fit=None, by_threads={}),
        "host-bound",
        "",
    ),
    "pictures of the first epoch": (
        figures(step=near(0.3), wait=near(0.2), disk_bytes=64_000), "data-bound",
        "1 kB of each sample come from the disk, and from memory later if all of them fit there",
    ),
    "memory in the swap": (figures(swaps=2000), "memory-bound", "2,000 pages in each update"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_known_case_has_its_verdict(name: str) -> None:
    case, kind, detail = CASES[name]
    split = split_time(case)
    verdict = decide(case, split)
    assert verdict.kind == kind, split.seconds
    assert detail in verdict.sentence
    assert verdict.sentence.startswith(f"{kind}: ")
    if case.ranks is not None:
        assert split.straggler == (1 if kind == "straggler-bound" else None)


@pytest.mark.parametrize("name", CASES)
def test_the_parts_add_up_to_the_update_and_its_share_of_what_comes_now_and_then(name: str) -> None:
    case = CASES[name][0]
    split = split_time(case)
    assert split.total == pytest.approx(case.step.median + case.evaluation + case.checkpoint + sum(case.watches.values()))
    assert list(split.seconds) == list(PARTS)
    assert set(PARTS) <= set(KINDS)
    assert min(split.seconds.values()) >= 0
    for part in PARTS:
        assert split.ceiling(part) >= 1


def test_the_line_that_takes_most_of_the_largest_part_is_named_and_no_other() -> None:
    lines = {name: CodeLine(f"{name}.py:1", 0.7) for name in ("data", "forward", "update", "evaluation", "watches")}
    for name, of in (("pictures by Pillow", "data"), ("digits", "forward"), ("a slow optimiser", "update"),
                     ("evaluations too often", "evaluation")):  # fmt: skip
        case = replace(CASES[name][0], lines=lines)
        assert decide(case, split_time(case)).sentence.endswith(f" in {of}.py:1")
    case = replace(CASES["gpt"][0], lines=lines)
    assert ".py:1" not in decide(case, split_time(case)).sentence, "a model that computes does so in its forward pass"


def test_a_single_number_that_is_read_on_the_host_is_one() -> None:
    of = figures(outside=0.8, fit=BatchFit(0.001, 0.093 / 64, (32, 64), (0.047, 0.094)), host_reads={"net.py:7 x.item()": 1.0})
    assert "a number is read on the host in an update, in net.py:7 x.item()" in decide(of, split_time(of)).sentence


def test_a_table_that_has_most_of_the_weights_is_named_where_they_are_many() -> None:
    case = replace(CASES["a slow optimiser"][0], weights=6_400_330, largest=("words.weight", 6_400_000))
    assert "100 % of the 6.4 million weights are words.weight" in decide(case, split_time(case)).sentence
    for few in (replace(case, largest=("words.weight", 3_000_000)), replace(case, weights=330, largest=("words.weight", 320))):
        assert "words.weight" not in decide(few, split_time(few)).sentence


def test_time_outside_of_operators_counts_where_it_is_more_than_what_does_not_grow_with_the_batch() -> None:
    case = CASES["digits"][0]
    fixed = split_time(case).seconds["overhead"]
    assert split_time(replace(case, outside=0.1)).seconds["overhead"] == fixed
    more = split_time(replace(case, outside=0.9))
    assert more.seconds["overhead"] == pytest.approx(0.9 * (more.seconds["overhead"] + more.seconds["compute"]))
    assert more.total == pytest.approx(split_time(case).total)


POSSIBLE = [
    Possible("threads", "'+plugins=[threads]'", ("data",), count=2),
    Possible("resident", "'+plugins=[resident]'", ("data", "transfer")),
    Possible("dataset", "task.decoder=simplejpeg", ("data",)),
    Possible("amp", "'+plugins=[amp]'", ("overhead", "compute", "threads"), "rounding"),
    Possible("evaluate_less", "evaluate.epochs=2", ("evaluation",), count=2),
]


def test_remedies_come_in_the_order_of_what_they_promise_and_the_useless_do_not() -> None:
    run = replace(
        CASES["pictures by Pillow"][0], reader_steps={0: near(0.25), 2: near(0.13)}, gather=0.0005,
        experiments={"amp": Experiment(SpeedRatio(2.0, 1.9, 2.1, 12))},
    )  # fmt: skip
    remedies = rank_remedies(run, split_time(run), POSSIBLE)
    assert [remedy.change.name for remedy in remedies] == ["resident", "threads", "amp", "dataset"]
    speeds = [remedy.speed_up for remedy in remedies]
    assert speeds[0] is not None
    assert speeds[0].middle == pytest.approx(0.25 / 0.0995, rel=0.01)
    assert speeds[-1] is None, "nothing was measured that tells how much faster another decoder is"
    for remedy in remedies[:3]:
        assert remedy.speed_up is not None
        assert remedy.speed_up.low <= remedy.speed_up.middle <= remedy.speed_up.high
        assert remedy.speed_up.middle <= 1.02 * remedy.ceiling
    assert remedies[-1].ceiling == pytest.approx(0.25 / 0.099, rel=0.01)
    often = replace(run, evaluation=0.25)
    (first, *_) = rank_remedies(often, split_time(often), POSSIBLE[1:2])
    assert first.speed_up is not None
    assert first.of_updates is not None
    assert first.speed_up.middle == pytest.approx(0.5 / (0.0995 + 0.25), rel=0.01)
    assert first.of_updates.middle == pytest.approx(speeds[0].middle)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_prediction_is_none_or_a_range_whatever_was_measured(name: str) -> None:
    for case, _, _ in CASES.values():
        after = PREDICTIONS[name](case, split_time(case), 2)
        assert after is None or 0 < after.low <= after.middle <= after.high


def test_a_larger_batch_takes_as_long_as_one_was_measured_to_take() -> None:
    case = CASES["digits"][0]
    split = split_time(case)
    (remedy,) = rank_remedies(case, split, [Possible("larger_batch", "batch_size=64", ("overhead", "update"), "recipe", count=2)])
    assert remedy.speed_up is not None
    passes = split.seconds["overhead"] + split.seconds["compute"]
    after = split.total - split.seconds["update"] / 2 - passes * (1 - 0.0046 / 2 / 0.0034)
    assert remedy.speed_up.middle == pytest.approx(split.total / after, rel=0.01)
    assert rank_remedies(replace(case, batch_size=30), split, [remedy.change])[0].speed_up is None, "such a batch was not measured"


def test_a_rank_that_is_slower_by_less_than_the_noise_is_not_named() -> None:
    case = CASES["a slow rank"][0]
    assert case.ranks is not None
    noisy = replace(case, ranks=replace(case.ranks, noise=(0.09, 0.09)))
    assert split_time(noisy).straggler is None
    assert split_time(replace(case, ranks=replace(case.ranks, noise=(0.01, 0.01)))).straggler == 1


def test_what_a_rank_reads_late_can_be_taken_away_by_readers() -> None:
    case = CASES["a rank that reads slowly, as it sees it itself"][0]
    readers = replace(case, reader_steps={0: near(0.35), 2: near(0.101)})
    (remedy,) = rank_remedies(readers, split_time(readers), POSSIBLE[:1])
    assert remedy.ceiling == pytest.approx(0.35 / 0.101, rel=0.02), "all of its wait, its part that others wait for too"
    assert remedy.speed_up is not None
    assert remedy.speed_up.middle == pytest.approx(0.35 / 0.101, rel=0.1)


def test_what_takes_a_share_of_a_part_away_has_a_lower_ceiling() -> None:
    case = CASES["element-wise operations"][0]
    split = split_time(case)
    whole, most = (Possible("compile", "", ("overhead", "compute"), share=share) for share in (1.0, 0.5))
    passes = split.share("overhead") + split.share("compute")
    ceilings = [remedy.ceiling for remedy in rank_remedies(case, split, [whole, most])]
    assert ceilings == pytest.approx([1 / (1 - passes), 1 / (1 - passes / 2)])


def test_readers_are_no_remedy_where_nobody_waits_whatever_moment_the_updates_were_of() -> None:
    slow_moment = figures(step=near(0.15), wait=near(0.001), reader_steps={0: near(0.15), 2: near(0.149)})
    assert rank_remedies(slow_moment, split_time(slow_moment), POSSIBLE[:2]) == []
    after = PREDICTIONS["resident"](slow_moment, split_time(slow_moment), 0)
    assert after is not None
    assert after.middle == pytest.approx(0.149, rel=0.01)


def test_a_line_over_the_batch_that_is_of_a_faster_moment_tells_the_same_share() -> None:
    case = CASES["digits"][0]
    assert case.fit is not None
    fit = case.fit
    faster = BatchFit(fit.overhead / 3, fit.per_sample / 3, fit.sizes, tuple(seconds / 3 for seconds in fit.seconds))
    one, other = split_time(case), split_time(replace(case, fit=faster))
    assert other.seconds["overhead"] == pytest.approx(one.seconds["overhead"])
    assert other.total == pytest.approx(one.total)


def test_threads_that_differ_by_less_than_their_noise_are_not_called_too_many() -> None:
    noisy = Timing((0.08, 0.09, 0.12, 0.1, 0.11, 0.095))
    case = figures(threads=4, by_threads={2: noisy, 4: noisy.scaled(1.05)}, step=near(0.1))
    assert split_time(case).seconds["threads"] == 0
    assert split_time(replace(case, by_threads={2: noisy, 4: noisy.scaled(2.0)})).seconds["threads"] > 0


def test_threads_that_lose_twice_the_time_are_called_too_many_beside_others_too() -> None:
    now, fewer = Timing((0.30, 0.25, 0.41, 0.28, 0.33, 0.26)), Timing((0.10, 0.13, 0.12, 0.09, 0.15, 0.11))
    case = figures(threads=16, by_threads={2: fewer, 16: now}, step=near(0.3), same_batch=near(0.29))
    assert split_time(case).seconds["threads"] > 0.1


@pytest.mark.parametrize(
    ("times", "overhead", "per_sample"),
    [
        ({32: 0.02, 64: 0.03, 128: 0.05, 256: 0.2}, 0.01, 0.02 / 64),
        ({32: 0.01, 64: 0.02, 128: 0.045}, 0.0, None),
        ({32: 0.02, 64: 0.02, 128: 0.019}, None, 0.0),
    ],
)
def test_a_line_through_batches_has_no_negative_part(times: dict[int, float], overhead: float, per_sample: float) -> None:
    fit = fit_batches(times, 128)
    assert fit is not None
    assert fit.overhead == (pytest.approx(overhead) if overhead is not None else pytest.approx(0.0195, rel=0.05))
    assert fit.per_sample == (pytest.approx(per_sample) if per_sample is not None else pytest.approx(0.33e-3, rel=0.1))
    assert fit_batches({32: 0.02, 64: 0.03}, 32) is None


def test_bounds_of_a_median_hold_the_median_and_shrink_with_measurements() -> None:
    few, many = near(1.0), Timing(near(1.0).values * 10)
    assert few.range.low <= few.median <= few.range.high
    assert many.range.high - many.range.low < few.range.high - few.range.low
    ratio = Range(2.0, 1.8, 2.2).over(Range(1.0, 0.9, 1.1))
    assert ratio.low < 1.8
    assert ratio.high > 2.2
