"""`bucium …`: the one command. The services start without the face's libraries: a node has 48 MiB, not a terminal."""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code: 0 done, 1 refused or failed, 2 misused."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not {"--help", "-h"} & set(words):
        if words[:2] == ["edge", "run"]:
            from edge.__main__ import main as edge_main

            return edge_main(words[2:])
        if words[:2] == ["controller", "run"]:
            from controller.__main__ import main as controller_main

            return controller_main(words[2:])
    from bucium.cli import run

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
