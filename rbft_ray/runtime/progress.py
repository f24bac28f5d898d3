"""Live progress of a stage: a bar on a terminal, else a line now and then."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_SEC = 10.0

console = Console(highlight=False, soft_wrap=True)


class StageProgress:
    """Counts units of work of one stage: `with StageProgress("ingest", 100, "clips") as bar: bar.advance(16)`."""

    def __init__(self, stage: str, total: int, unit: str, done: int = 0):
        self.stage, self.total, self.unit, self.done = stage, total, unit, done
        self._started_sec = time.monotonic()
        self._resumed_at = done
        self._last_line_sec = self._started_sec
        self._bar: Progress | None = None

    def __enter__(self) -> "StageProgress":
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(self.stage, total=self.total, completed=self.done, rate="")
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def resume_at(self, done: int) -> None:
        """Starts counting the rate at `done` units: what came before was an earlier process's work, or starting up."""
        self.done = self._resumed_at = done
        self._started_sec = time.monotonic()

    def rate(self) -> float:
        """Units per second since this process began the stage."""
        return (self.done - self._resumed_at) / max(time.monotonic() - self._started_sec, 1e-9)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Reports `count` more units done; `note` (such as the loss) is shown beside the rate."""
        self.done += count
        rate = self.rate()
        text = f"{rate:.1f} {self.unit}/s" + (f"  {note}" if note else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=text)
        elif time.monotonic() - self._last_line_sec >= LINE_EVERY_SEC:
            self._last_line_sec = time.monotonic()
            left = f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 else ""
            console.print(f"  {self.stage}: {self.done}/{self.total} {self.unit}, {text}{left}")
