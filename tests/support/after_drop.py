"""``python -m tests.support.after_drop FILE ARGV…``: inetprobe ARGV over a source without a kernel.

FILE gets the names of the modules that were loaded after the privileges were dropped, but for Python's own: from a home
that only its owner may enter, root without capabilities could not load them.
"""

import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

from inetprobe.cli import live
from inetprobe.cli.main import main
from inetprobe.kernel.source import LiveSource
from tests.support import builders
from tests.support.paths import ROOT

_FOREIGN = (str(ROOT), sysconfig.get_path("purelib"), "/usr/lib/python3/")


class Source(LiveSource):
    """A socket of every kind at each drain."""

    def _build(self, say):
        def nothing(*_):
            return None

        return SimpleNamespace(
            activate=nothing,
            deactivate=nothing,
            detach=nothing,
            close=nothing,
            follow=nothing,
            probe_counts=dict,
            counters=SimpleNamespace(
                read=lambda name: 0, lost=dict, new_losses=tuple, other_families=dict, accepted=dict
            ),
            ring=SimpleNamespace(much=False, wait=nothing, wake=nothing, drain=builders.every_kind),
        )

    def _describe(self):
        return builders.run()


def _drop(_keep):
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread that is there already keeps its capabilities"
    sys.addaudithook(lambda event, arguments: late.append(arguments[0]) if event == "import" else None)


def _foreign(name):
    origin = getattr(sys.modules.get(name), "__file__", None)
    return origin is not None and origin.startswith(_FOREIGN)


if __name__ == "__main__":
    late = []
    live.privileges.drop, live.LiveSource = _drop, Source
    file, sys.argv = Path(sys.argv[1]), ["inetprobe", *sys.argv[2:]]
    try:
        main()
    finally:
        file.write_text("".join(f"{name}\n" for name in dict.fromkeys(late) if _foreign(name)))
