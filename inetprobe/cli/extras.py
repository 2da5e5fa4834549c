"""Which optional package a command lacks: pip installs with inetprobe only what trace, record and replay need."""

from __future__ import annotations

from inetprobe.base.errors import InetprobeError

#: Modules by the extra of pyproject.toml that brings them.
EXTRAS = {
    "export": ("perfetto",),
    "query": ("duckdb",),
    "report": ("jinja2", "markupsafe"),
    "serve": ("prometheus_client", "h11", "yaml", "bcrypt"),
    "top": ("textual",),
}


def missing_extra(error: ModuleNotFoundError) -> InetprobeError | None:
    """The one sentence for a module that an extra would have brought; None where it is another module."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return InetprobeError(
                f"inetprobe {extra} needs the Python package {module}: pip install 'inetprobe[{extra}]'"
            )
    return None
