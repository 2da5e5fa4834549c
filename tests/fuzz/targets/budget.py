"""``check --budget``: the TOML file of budgets, and what a recording's check says of them."""

from inetprobe.commands.check.budget import load
from inetprobe.commands.check.examine import Plan, examine
from inetprobe.commands.check.formats import text
from inetprobe.trace.output import Style
from tests.fuzz import checks
from tests.fuzz.seeds import CORPUS

DICTIONARY = (
    "[[budget]]\n", "name = ", "where = ", "where.", "max_module_requests = ", "max_failures = ", "forbid_errno = ",
    "max_duration = ", "p50 = ", "p99 = ", "function = ", "at_most = ", "pid = ", "comm = ", "uid = ", "cgroup = ",
    "netns = ", "family = ", "type = ", "protocol = ", "errno = ", "failed = true", "module_requests = ",
    "min_duration = ", '"5ms"', '["EPERM"]', '"!0"', '"net:[4026531840]"', "all", "inf", "nan", "0x", "1979-05-27",
    "\\u0000", "'''", '"""', "{ ", " }", "\n",
)  # fmt: skip


def run(data):
    with checks.in_memory(data) as path, checks.may_refuse():
        budgets = load(path)
        report = examine([CORPUS / "every-kind"], Plan(budgets=budgets))
        checks.is_shown(text.render(report, Style()))
