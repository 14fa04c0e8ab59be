"""The progress bar of training: epoch, team reward, utilisation, latency, speed, time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["EpochDisplay", "describe_epoch"]


def describe_epoch(row: Mapping[str, float], problems: Sequence[str] = ()) -> str:
    """One line on an epoch; what an algorithm does not report is left out.

    Args:
        row: the epoch.
        problems: labels of what `cloudsched_env.rllib.diagnostics` found.
    """
    parts = []
    if "team_reward" in row:
        parts.append(f"return/step {row['team_reward']:.3f}")
    elif "env_runners/episode_return_mean" in row:
        parts.append(f"return {row['env_runners/episode_return_mean']:.1f}")
    if "useful_utilisation" in row:
        parts.append(f"util {100 * row['useful_utilisation']:.1f} %")
    if "scheduling_latency_mean_ms" in row:
        parts.append(f"latency {row['scheduling_latency_mean_ms']:.0f} ms")
    if "validation/team_reward" in row:
        parts.append(f"[bold]validation {row['validation/team_reward']:.3f}[/bold]")
    parts.append(f"{row.get('env_steps_per_s', 0):.0f} env-steps/s")
    parts += [f"[yellow]{problem}[/yellow]" for problem in problems]
    return " · ".join(parts)


class EpochDisplay:
    """Shows epochs on standard error: a live bar in a terminal, otherwise a line each.

    Args:
        enabled: show anything at all.
        epochs: the epoch at which training stops, if that is known.
        minutes: minutes after which training stops, if that is known.
    """

    def __init__(self, enabled: bool, epochs: float | None, minutes: float | None) -> None:
        self._console = Console(stderr=True, quiet=not enabled)
        self._epochs, self._minutes = epochs, minutes
        self._bar: Progress | None = None
        self._task: Any = None
        if enabled and self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=1.0, epoch="0", text="starting …")

    def __enter__(self) -> EpochDisplay:
        """Begin to show."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to show."""
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        (self._bar.console if self._bar is not None else self._console).print(text, highlight=False)

    def warm_start(self, progress: Any) -> None:
        """Show a pass of cloning (a `cloudsched_env.rllib.cloning.CloningProgress`)."""
        text = progress.describe()
        if self._bar is None:
            self._console.print(text, highlight=False, soft_wrap=True)
        else:
            self._bar.update(self._task, text=text)
            if progress.epoch == progress.epochs:
                self.note(text)

    def epoch(self, row: Mapping[str, float], problems: Sequence[str] = ()) -> None:
        """Show a finished epoch, and what is wrong with it."""
        text = describe_epoch(row, problems)
        label = f"{row['epoch']:.0f}" + (f"/{self._epochs:.0f}" if self._epochs else "")
        if self._bar is None:
            self._console.print(f"epoch {label} · {row['minutes']:.1f} min · {text}", highlight=False, soft_wrap=True)
            return
        shares = [0.0]
        if self._epochs:
            shares.append(row["epoch"] / self._epochs)
        if self._minutes:
            shares.append(row["minutes"] / self._minutes)
        self._bar.update(self._task, completed=min(1.0, max(shares)), epoch=label, text=text)
