"""The system's apt sources: the mirror of Debian that this machine uses, and its signing key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHIVE_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class AptSource:
    """One ``deb`` line or deb822 stanza; ``signed_by`` may be a path or, in deb822, a whole key."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None


def read(root: Path = Path("/")) -> list[AptSource]:
    """Every enabled binary source of the system, in apt's own order."""
    etc = root / "etc/apt"
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    sources: list[AptSource] = []
    for file in files:
        if file.is_file() and file.suffix in (".list", ".sources"):
            parse = parse_deb822 if file.suffix == ".sources" else parse_one_line
            sources.extend(parse(file.read_text(encoding="utf-8", errors="replace")))
    return sources


def parse_one_line(text: str) -> Iterator[AptSource]:
    """``deb [signed-by=…] URI SUITE COMPONENT…`` lines."""
    pattern = re.compile(r"^\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#]*)")
    for line in text.splitlines():
        match = pattern.match(line)
        if match is None:
            continue
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        yield AptSource(match["uri"], (match["suite"],), tuple(match["components"].split()), options.get("signed-by"))


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Stanzas of ``Key: value`` with continuation lines; comments may be anywhere."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").strip().lower() not in ("no", "false")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            yield AptSource(uri, suites, tuple(fields.get("components", "").split()), fields.get("signed-by"))


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line[:1].isspace() and key:
            fields[key] += "\n" + line
        elif ":" in line:
            key, value = (part.strip() for part in line.split(":", 1))
            key = key.lower()
            fields[key] = value
    return fields


def debian_mirror(sources: list[AptSource], codename: str | None) -> AptSource | None:
    """The source of Debian's main archive: the one with this system's suite, else one whose URI ends in /debian."""
    main = [source for source in sources if "main" in source.components]
    for source in main:
        if codename is not None and codename in source.suites:
            return source
    return next((source for source in main if source.uri.rstrip("/").endswith("/debian")), None)
