"""Stand-ins for an attached program: the live sources over them need no kernel."""

from types import SimpleNamespace

from inetprobe.kernel.attached import Attached
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.source import LiveSource
from tests.support import builders


def program(drain, heard=lambda event: None, counts=None, **members):
    """A program whose ring ``drain`` empties and whose counters say ``counts``; ``heard`` gets its method calls' names.

    ``members`` are more attributes, or replace those here.
    """

    def hear(event):
        return lambda *_: heard(event)

    return SimpleNamespace(
        **{
            **{name: hear(name) for name in ("activate", "deactivate", "detach", "close", "follow")},
            "counters": SimpleNamespace(
                read=lambda name: (counts or {}).get(name, 0),
                lost=dict,
                new_losses=tuple,
                other_families=dict,
                accepted=dict,
                calls=dict,
            ),
            "ring": SimpleNamespace(much=False, wait=lambda timeout_s: None, wake=lambda: None, drain=drain),
            "probe_counts": dict,
            **members,
        }
    )


def attached(stand_in):
    """The ``program`` as attached, with the run of ``builders``."""
    return Attached(stand_in, builders.run(), Cgroups.of_host())


def open_source(drain, heard=lambda event: None):
    """Like ``LiveSource.of_kernel``, over a stand-in."""

    def opened(options, command, _say, _check_stop):
        stand_in = program(drain, heard)
        if command is not None:
            stand_in.follow(command.pid)
        return LiveSource(attached(stand_in), command, options.duration_s)

    return opened
