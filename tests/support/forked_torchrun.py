"""torchrun whose ranks are forks of it, which has imported what they need: `python -m tests.support.forked_torchrun words...`."""

from __future__ import annotations

import subprocess

if __name__ == "__main__":
    from torch.distributed.run import main

    import accel.cli.train_command
    import accel.plugins.ddp
    import accel.trainer  # noqa: F401
    from tests.support.forked_popen import ForkedPopen

    subprocess.Popen = ForkedPopen  # type: ignore[misc]
    main()
