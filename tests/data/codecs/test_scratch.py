from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from accel.data.codecs import simplejpeg_decoder
from tests.support.waiting import DEADLINE


def test_a_thread_uses_its_memory_again_and_shares_it_with_nobody() -> None:
    together = Barrier(2)

    def use(_: int) -> np.ndarray:
        first, second = simplejpeg_decoder.scratch(1000), simplejpeg_decoder.scratch(900)
        assert np.shares_memory(first, second)
        assert (len(first), len(second)) == (1000, 900)
        together.wait(DEADLINE)
        return second

    with ThreadPoolExecutor(2) as pool:
        assert not np.shares_memory(*pool.map(use, range(2)))


def test_it_grows_ahead_of_need_and_keeps_no_giant() -> None:
    small = simplejpeg_decoder.scratch(8000)
    assert np.shares_memory(small, simplejpeg_decoder.scratch(9000))
    giant = simplejpeg_decoder.scratch(simplejpeg_decoder.MAX_SCRATCH + 1)
    assert len(giant) == simplejpeg_decoder.MAX_SCRATCH + 1
    assert not np.shares_memory(giant, simplejpeg_decoder.scratch(100))
    assert len(simplejpeg_decoder.scratch(simplejpeg_decoder.MAX_SCRATCH)) == simplejpeg_decoder.MAX_SCRATCH
