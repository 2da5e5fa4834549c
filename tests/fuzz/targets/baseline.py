"""``check --baseline``: a recording compared with an older one, in every format; both are any bytes in turn."""

import json
from importlib import import_module
from xml.etree import ElementTree

from inetprobe.commands.check.examine import Plan, examine
from inetprobe.trace.output import Style
from tests.fuzz import checks
from tests.fuzz.mutate import mutate as mutant
from tests.fuzz.seeds import CORPUS

SEEDS = CORPUS
mutate = mutant
_SOUND = CORPUS / "every-kind"
_FORMATS = ("text", "github", "junit", "json")


def run(data):
    with checks.in_memory(data) as path, checks.may_refuse():
        for judged, baseline in ((path, _SOUND), (_SOUND, path)):
            report = examine([judged], Plan(baseline=baseline))
            pages = {name: _render(name, report) for name in _FORMATS}
            for name in ("text", "github"):
                checks.is_shown(pages[name])
            ElementTree.fromstring(pages["junit"])
            json.loads(pages["json"], parse_constant=_not_json)


def _render(name, report):
    return import_module(f"inetprobe.commands.check.formats.{name}").render(report, Style())


def _not_json(word):
    raise AssertionError(f"{word} is not JSON")
