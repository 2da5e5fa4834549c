"""The full screen of ``top``. Untrusted text is always a rich Text, in which markup has no effect."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.base.signals import handled
from inetprobe.base.text import printable
from inetprobe.commands.top.collect import Collector
from inetprobe.commands.top.once import head
from inetprobe.commands.top.tables import TableView
from inetprobe.record.filter import Filters

# Nobody reads further down, and more rows would slow down each refresh.
_MOST_ROWS = 200
_LOOK_S = 0.1

HELP = """\
 1 … 7      a table: functions, kinds, errors, processes,
            containers, modules, waits
 Tab        the next table (Shift-Tab: the one before)
 < >        sort by the column to the left, to the right
 r          reverse the order
 ↑ ↓ ← →    scroll (also PgUp, PgDn, Home, End)
 p, Space   pause the screen; counting goes on
 /          filter, as on the command line: --comm nginx -x
            a word without an option is a command name: nginx*
            counts restart; an empty line removes the filter
 ? or h     this help
 q, Ctrl-C  quit; a COMMAND that still runs gets SIGTERM

 /S is the rate per second over the last interval; for a
 recording, or once the source has ended, over its whole time.
 P50 and P99 are within 1.6 %, all other numbers are exact.
"""


@dataclass(frozen=True, slots=True)
class Feed:
    """The source of the screen: the ``collector``; ``restart`` starts counting again with other filters; ``parse``
    parses a typed filter and raises UsageError; ``failed`` tells whether the source has failed."""

    collector: Collector
    restart: Callable[[Filters], None]
    parse: Callable[[Sequence[str]], Filters]
    failed: Callable[[], bool]


class _Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,h,enter", "dismiss", "back")]

    def compose(self) -> ComposeResult:
        yield Static(Text(HELP), id="help")


class _Line(Input):
    """The field for a filter. Enter is bound to the application, which must handle it before the next key."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "app.take")]


class TopScreen(App[None]):
    """The application. ``title`` names the source."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head, #tabs, #foot { height: auto; width: 100%; text-wrap: nowrap; text-overflow: ellipsis; }
    #head { padding: 0 1; background: $panel; }
    #tabs { height: 1; }
    #foot { height: 1; color: $text-muted; }
    DataTable { height: 1fr; scrollbar-size: 1 1; }
    #filter { display: none; height: 1; border: none; padding: 0 1; }
    _Help { align: center middle; }
    #help { width: 66; height: auto; max-height: 100%; border: round $primary; background: $surface; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit"),
        Binding("ctrl+c", "quit", priority=True),  # elsewhere it copies
        *(Binding(str(number), f"table({number - 1})") for number in range(1, 8)),
        Binding("tab", "turn(1)", priority=True),
        Binding("shift+tab", "turn(-1)", priority=True),
        Binding("less_than_sign,comma", "sort(-1)"),
        Binding("greater_than_sign,full_stop", "sort(1)"),
        Binding("r", "reverse"),
        Binding("p,space", "pause"),
        Binding("slash", "ask"),
        Binding("escape", "forget"),
        Binding("question_mark,h", "help"),
    ]

    def __init__(self, feed: Feed, tables: Sequence[TableView], title: str) -> None:
        super().__init__()
        self._feed, self._tables, self._source = feed, tables, printable(title)
        self._index = 0
        self._sorts = {table.name: (table.sort, False) for table in tables}
        self._paused = False
        self._shown = feed.collector.frame
        self._filter_text = ""
        self._message = ""
        #: Has ``end`` been called?
        self.ending = False

    def end(self) -> None:
        """Asks it to end soon. May be called at any time, before it runs and from a signal handler."""
        self.ending = True

    def compose(self) -> ComposeResult:
        """The widgets, top down."""
        yield Static(id="head")
        yield Static(id="tabs")
        yield DataTable(cursor_type="row", zebra_stripes=True, cell_padding=1)
        yield _Line(id="filter", placeholder="--comm nginx --failed", select_on_focus=False)
        yield Static(id="foot")

    def on_mount(self) -> None:
        """Polls for a new picture, and draws only if there is one."""
        self.screen.set_focus(self.query_one(DataTable))
        self._draw()
        self.set_interval(_LOOK_S, self._look)

    def on_resize(self) -> None:
        """Draws again, since lines are cut to the width."""
        self._draw()

    async def on_event(self, event: events.Event) -> None:
        """Handles keys and pastes one after the other.

        textual puts a key into the queue of the widget that has the focus when the key arrives: in a burst, the widget
        from before the burst. Letters are handled in that queue, but Enter comes back to this one, so that letters
        typed after it could overtake it.
        """
        if isinstance(event, (events.Key, events.Paste)) and not event.is_forwarded:
            await self._typed(event)
        else:
            await super().on_event(event)

    async def _typed(self, event: events.Key | events.Paste) -> None:
        text = event.text.partition("\n")[0] if isinstance(event, events.Paste) else event.character
        if isinstance(self.focused, Input) and text is not None and text.isprintable():
            self.focused.replace(text, *self.focused.selection)
        elif isinstance(event, events.Key) and event.key in self.screen.active_bindings:
            found = self.screen.active_bindings[event.key]
            await self.run_action(found.binding.action, found.node)

    async def action_quit(self) -> None:
        """Ends the application."""
        self.exit()

    def action_table(self, index: int) -> None:
        """Shows another table."""
        self._index = index % len(self._tables)
        self._draw(top=True)

    def action_turn(self, by: int) -> None:
        """Shows the next table, or the one before."""
        self.action_table(self._index + by)

    def action_sort(self, by: int) -> None:
        """Sorts by a neighbouring column."""
        table = self._tables[self._index]
        column, _ = self._sorts[table.name]
        self._sorts[table.name] = (column + by) % len(table.columns), False
        self._draw()

    def action_reverse(self) -> None:
        """Reverses the order."""
        table = self._tables[self._index]
        column, reverse = self._sorts[table.name]
        self._sorts[table.name] = column, not reverse
        self._draw()

    def action_pause(self) -> None:
        """Pauses the screen, or resumes it."""
        self._paused = not self._paused
        self._look()
        self._draw_head()

    def action_help(self) -> None:
        """Shows the keys."""
        self.push_screen(_Help())

    def action_ask(self) -> None:
        """Asks for a filter."""
        field = self.query_one(Input)
        field.value = self._filter_text
        field.display = True
        self.screen.set_focus(field)  # at once: keys typed ahead are meant for it

    def action_forget(self) -> None:
        """Closes the field and keeps the old filter."""
        self._message = ""
        self.query_one(Input).display = False
        self.screen.set_focus(self.query_one(DataTable))
        self._draw_head()

    def action_take(self) -> None:
        """Applies the typed filter, or shows its error."""
        line = self.query_one(Input).value
        try:
            words = shlex.split(line)
            if words and not words[0].startswith("-"):
                words = [argument for word in words for argument in ("--comm", word)]
            filters = self._feed.parse(words)
        except (UsageError, ValueError) as error:
            self._message = printable(str(error))
            self._draw_head()
            return
        self._filter_text = line.strip()
        self._feed.restart(filters)
        self.action_forget()

    def _fatal_error(self) -> None:
        # Instead of a traceback: show_until_quit raises one sentence.
        self._close_messages_no_wait()

    def _look(self) -> None:
        if self.ending or self._feed.failed():
            self.exit()
        frame = self._feed.collector.frame
        if not self._paused and frame is not self._shown:
            self._shown = frame
            self._draw()

    def _draw(self, *, top: bool = False) -> None:
        self._draw_head()
        table, widget = self._tables[self._index], self.query_one(DataTable)
        column, reverse = self._sorts[table.name]
        rows = table.sorted(self._shown, column, reverse=reverse)
        index, scroll = widget.cursor_row, widget.scroll_offset
        with self.batch_update():
            widget.clear(columns=True)
            lines = [table.texts(row) for row in rows[:_MOST_ROWS]]
            for number, one in enumerate(table.columns):
                mark = ("▼" if one.number != reverse else "▲") if number == column else ""
                title = one.title + mark
                # Textual itself measures cells only when it is idle: a table that is drawn before stays cut off.
                width = max(cell_len(text) for text in (title, *(line[number] for line in lines)))
                widget.add_column(Text(title, justify="right" if one.number else "left"), width=width)
            for line in lines:
                cells = zip(line, table.columns, strict=True)
                widget.add_row(*(Text(text, justify="right" if one.number else "left") for text, one in cells))
            if not top:
                widget.move_cursor(row=min(index, max(len(rows) - 1, 0)), scroll=False)
                widget.scroll_to(scroll.x, scroll.y, animate=False, force=True)
        self._draw_foot(table, len(rows))

    def _draw_head(self) -> None:
        frame = self._shown
        state = f"error: {printable(frame.error)}" if frame.error else "ended" if frame.ended else ""
        marks = [mark for mark in ("PAUSED" if self._paused else "", state) if mark]
        seconds = int(frame.elapsed_s)
        line = Text(f"inetprobe top  {self._source}  {seconds // 60}:{seconds % 60:02}", style="bold")
        for mark in marks:
            line.append("  ").append(mark, style="bold reverse")
        if self._filter_text:
            line.append(f"  filter: {printable(self._filter_text)}")
        made, missing = head(frame)
        lost = sum(frame.lost.values())
        text = Text("\n").join([line, Text(made), Text(missing, style="bold red" if lost else "")])
        text.no_wrap, text.overflow = True, "ellipsis"
        self.query_one("#head", Static).update(text)
        tabs = Text(" ", no_wrap=True, overflow="ellipsis")
        for number, table in enumerate(self._tables):
            style = "reverse bold" if number == self._index else ""
            tabs.append(f"{number + 1} {table.title}", style=style)
            tabs.append(" ")
        self.query_one("#tabs", Static).update(tabs)
        if self._message:
            self.query_one("#foot", Static).update(Text(f" {self._message}", no_wrap=True, overflow="ellipsis"))

    def _draw_foot(self, table: TableView, rows: int) -> None:
        if self._message:
            return
        more = f"  … {rows - _MOST_ROWS:,} more rows" if rows > _MOST_ROWS else ""
        keys = " q quit  ? keys  <> sort  r reverse  p pause  / filter"
        text = Text(f"{keys}{more}  {table.about}", no_wrap=True, overflow="ellipsis")
        self.query_one("#foot", Static).update(text)


@contextlib.contextmanager
def ended_by_signals(app: TopScreen) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP end the application as its keys do, so that the terminal is restored; a signal before
    it runs counts as well."""

    with handled((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), lambda _number, _frame: app.end()):
        yield


def show_until_quit(app: TopScreen) -> None:
    """Runs the application in the main thread, within ``ended_by_signals``. Raises InetprobeError if it fails."""
    if not app.ending:
        app.run()
    error = app._exception
    if error is not None:
        raise InetprobeError(
            f"top's screen failed ({type(error).__name__}: {error}): please report it; "
            "top --once shows the same tables without a screen"
        ) from error
