"""What the tests of ``report`` share: recordings read, pages made and pages read."""

import html.parser
from collections import Counter

from inetprobe.commands.report import numbers, page
from inetprobe.commands.report.gather import GatherOptions, gather
from inetprobe.record.filter import Filters


def gathered(*paths, filters=None, **wanted):
    return gather(list(paths), GatherOptions(filters or Filters(), **wanted))


def rendered(*paths, **wanted):
    return page.render(gathered(*paths, **wanted), None, None, slowest=20)


def spoken(chapters):
    lines = []
    for chapter in chapters:
        lines += [
            f"# {chapter.title}",
            *(f"{said.mark}: {said.head} {said.text}".rstrip() for said in chapter.said),
            "",
        ]
    return "\n".join(lines).replace(numbers.NBSP, "~")


class Elements(html.parser.HTMLParser):
    """Which elements a page has, with the attributes that could run or load something, and all its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.risky, self.text, self.scripts, self._inside = Counter(), [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self._inside = tag
        self.risky += [
            (tag, name, value)
            for name, value in attrs
            if name.startswith("on") or name in ("src", "srcdoc", "action") or (name == "href" and value[:1] != "#")
        ]
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        else:
            self.text.append(data)
