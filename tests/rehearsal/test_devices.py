"""The stand-ins keep CUDA's rules, as far as torch's host code meets them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from nullcuda import devices

from tests.rehearsal import races

runtime = ctypes.CDLL("libcudart.so.13")


@pytest.fixture
def lazy() -> Any:
    with devices.configured(lazy=1):
        yield


def test_work_happens_when_it_is_waited_for(lazy: None) -> None:
    there = torch.zeros(4, device="cuda")
    there.fill_(1)
    assert devices.pending() > 0
    assert there.tolist() == [1, 1, 1, 1]
    assert devices.pending() == 0


def test_a_pinned_target_is_no_number_until_the_copy_has_arrived(lazy: None) -> None:
    here = torch.zeros(4, pin_memory=True)
    here.copy_(torch.ones(4, device="cuda"), non_blocking=True)
    assert here.isnan().all()
    torch.cuda.synchronize()
    assert here.tolist() == [1, 1, 1, 1]


@pytest.mark.races
def test_a_source_that_changes_too_soon_is_a_race(lazy: None) -> None:
    here, before = torch.zeros(4, pin_memory=True), devices.races()
    here.to("cuda", non_blocking=True)
    here.fill_(1)
    torch.cuda.synchronize()
    assert devices.races() == before + 1
    here.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    here.fill_(2)
    assert devices.races() == before + 1


def test_an_event_passes_after_some_queries(lazy: None) -> None:
    torch.zeros(4, device="cuda")
    event = torch.cuda.Event()
    event.record()
    assert [event.query() for _ in range(3)] == [False, False, True]


def test_eager_work_waits_behind_a_sleep() -> None:
    there = torch.zeros(4, device="cuda")
    torch.cuda._sleep(1)
    there.fill_(1)
    assert devices.pending() > 0
    assert there.tolist() == [1, 1, 1, 1]
    there.fill_(2)
    assert devices.pending() == 0


def test_streams_wait_for_events_and_for_nothing_else(lazy: None) -> None:
    beside, there = torch.cuda.Stream(), torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    there.fill_(1)
    with torch.cuda.stream(beside):
        early = there.clone()
    beside.synchronize()
    assert devices.pending() > 0, "nobody waited for the first stream"
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        late = there.clone()
    beside.synchronize()
    torch.cuda.synchronize()
    assert late.tolist() == [1, 1, 1, 1]
    assert early.tolist() == [0, 0, 0, 0]


class Captured:
    """A stream that is being captured, by calls of the runtime alone: a capture that fails would leave torch in disorder."""

    def __init__(self, mode: int = 1) -> None:
        self.stream = torch.cuda.Stream().cuda_stream
        assert call("cudaStreamBeginCapture", self.stream, mode) == 0

    def end(self) -> int:
        graph = ctypes.c_void_p()
        error = int(runtime.cudaStreamEndCapture(ctypes.c_void_p(self.stream), ctypes.byref(graph)))
        runtime.cudaGetLastError()
        return error


def call(function: str, *handles: int) -> int:
    """Return the error of a call of the runtime, and forget it."""
    error = int(getattr(runtime, function)(*map(ctypes.c_void_p, handles)))
    runtime.cudaGetLastError()
    return error


def event() -> int:
    handle = ctypes.c_void_p()
    assert runtime.cudaEventCreate(ctypes.byref(handle)) == 0
    return handle.value or 0


UNSUPPORTED, INVALIDATED, UNJOINED, ISOLATION, CAPTURED_EVENT, INVALID_HANDLE = 900, 901, 904, 905, 907, 400


def test_a_capture_forbids_to_wait_for_its_stream() -> None:
    capture = Captured()
    assert call("cudaStreamSynchronize", capture.stream) == UNSUPPORTED
    assert capture.end() == INVALIDATED


def test_a_capture_forbids_its_thread_to_allocate() -> None:
    capture, place = Captured(), ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(512)) == UNSUPPORTED
    runtime.cudaGetLastError()
    assert capture.end() == INVALIDATED
    capture = Captured(mode=2)  # relaxed
    assert runtime.cudaMalloc(ctypes.byref(place), ctypes.c_size_t(512)) == 0
    assert capture.end() == 0


def test_a_captured_event_tells_the_host_nothing() -> None:
    capture, passed = Captured(), event()
    assert call("cudaEventRecord", passed, capture.stream) == 0
    assert call("cudaEventQuery", passed) == CAPTURED_EVENT
    assert capture.end() == INVALIDATED


def test_a_captured_stream_waits_for_nothing_of_before(lazy: None) -> None:
    before = event()
    torch.zeros(4, device="cuda").fill_(1)
    assert call("cudaEventRecord", before, 0) == 0
    capture = Captured()
    assert call("cudaStreamWaitEvent", capture.stream, before, 0) == ISOLATION
    assert capture.end() == INVALIDATED


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_stream_that_joins_a_capture_must_come_back(comes_back: bool) -> None:
    capture, beside = Captured(), torch.cuda.Stream().cuda_stream
    fork, joined = event(), event()
    assert call("cudaEventRecord", fork, capture.stream) == 0
    assert call("cudaStreamWaitEvent", beside, fork, 0) == 0
    assert call("cudaEventRecord", joined, beside) == 0
    if comes_back:
        assert call("cudaStreamWaitEvent", capture.stream, joined, 0) == 0
    assert capture.end() == (0 if comes_back else UNJOINED)


def test_errors_have_the_texts_of_nvidia() -> None:
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    assert runtime.cudaGetErrorString(UNSUPPORTED) == b"operation not permitted when stream is capturing"
    assert runtime.cudaGetErrorString(2) == b"out of memory"


def test_memory_is_short() -> None:
    free, total = torch.cuda.mem_get_info()
    assert total >= free
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(total + 1, dtype=torch.uint8, device="cuda")
    assert torch.ones(4, device="cuda").sum().item() == 4, "the error is not left for the next call"


def test_registration_that_is_refused_stays_the_last_error() -> None:
    memory = torch.zeros(4096)
    with devices.configured(registers=0):
        assert int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), 4096, 0)) == 2
    assert runtime.cudaGetLastError() == 2
    assert runtime.cudaGetLastError() == 0


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_workers_go_on_without_registration() -> None:
    expected = races.fit("workers")
    with devices.configured(registers=0):
        assert races.fit("workers") == expected


def test_the_profiler_says_that_nothing_traces_the_device(capfd: pytest.CaptureFixture[str]) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        torch.ones(4, device="cuda").add_(1)
    assert any(row.key == "aten::add_" for row in profile.key_averages())
    assert not [row for row in profile.key_averages() if row.self_device_time_total]
    assert "CUPTI has no stand-in" in capfd.readouterr().err


VISIBLE = """
import os, torch
os.environ["CUDA_VISIBLE_DEVICES"] = "{visible}"
print(torch.cuda.is_available(), torch.cuda.device_count())
"""


@pytest.mark.parametrize(("visible", "answer"), [("1", "True 1"), ("", "False 0"), ("0,1", "True 2"), ("0,7", "True 1")])
def test_visible_devices_are_those_of_the_environment(visible: str, answer: str) -> None:
    script = VISIBLE.format(visible=visible)
    environment = os.environ | {"NULLCUDA_DEVICES": "2", "NULLCUDA_ARITHMETIC": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == answer
