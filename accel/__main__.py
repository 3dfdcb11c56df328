"""`python -m accel`: what there is. `plugins [NAME]`: the plugins, or one plugin's page. `pack`: a data set into one file.
`drill`: whether a run survives."""

from __future__ import annotations

import os
import sys

from accel.errors import ConfigError, TrainingError, nearest

__all__ = ["USAGE", "code", "main"]

USAGE = """\
python -m accel.train            train (--help says how)
python -m accel plugins          list the plugins
python -m accel plugins NAME     the page of one: what it does, its settings
python -m accel pack SRC DST     class folders of pictures into one file each (--help says how)
python -m accel drill KIND       kill a run, again and again, and compare (--help says how)"""


def main(argv: list[str]) -> int:
    """Prints what was asked for; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if argv[0] == "pack":
        from accel.cli import pack_command as pack

        return pack.main(argv[1:])
    if argv[0] == "drill":
        from accel.cli import drill_command as drill

        return drill.main(argv[1:])
    if argv[0] != "plugins":
        hint = nearest(argv[0], ["plugins", "pack", "drill", "train"]).replace("'train'", "'python -m accel.train'")
        there = "python -m accel plugins [NAME], pack SRC DST, and drill KIND"
        raise ConfigError(f"no command is called {argv[0]!r}{hint}; there is: {there}")
    from accel.cli import help_pages as pages

    names = argv[1:]
    print("\n\n".join(map(pages.page_text, names)) if names else "\n".join(pages.listing(pages.terminal_width())))
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except ConfigError as error:
        print(f"accel: error: {error}", file=sys.stderr)
        code = 2
    except TrainingError as error:
        print(f"accel: error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
