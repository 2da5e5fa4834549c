"""``inetprobe`` and ``python -m inetprobe``."""

import sys

from inetprobe.base.errors import EXIT_INTERRUPTED


def main() -> None:
    """The console script; Ctrl-C while the command line itself is still being loaded ends it, too."""
    try:
        from inetprobe.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
