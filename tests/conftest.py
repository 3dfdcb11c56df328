import signal
import sys
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)
# a shell's & without job control hands on an ignored Ctrl-C, and every process that the tests start would ignore theirs too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def forget_mine() -> Iterator[None]:
    """A user's module `mine` is another one in each test that has one."""
    yield
    sys.modules.pop("mine", None)
