"""`batcher`, also as `python -m batcher`."""

from __future__ import annotations

import sys

from batcher.cli import entry


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(entry.run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
