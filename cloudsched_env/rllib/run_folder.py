"""The folder of a training run: logs, checkpoints that are whole or absent, the policy that came out.

progress.csv                  one line an epoch
events.out.tfevents.*         the same for TensorBoard
run.json                      settings, resources, versions
checkpoints/epoch_000010/     algorithm/ (RLlib's), policy/ (loads without Ray), state.json
latest.json                   names of the last and the best checkpoint
policy/                       a copy of the policy of the best checkpoint on validation (the last without validation)
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudsched_env.whole_file import sync_folder, write_whole

__all__ = ["RunFolder", "RunState"]


@dataclass
class RunState:
    """Where a run stands; saved with each checkpoint.

    Attributes:
        epoch: epochs done.
        env_steps: env steps sampled.
        elapsed_s: wall time of training, validation included.
        best_score: highest validation score so far; None before the first.
        best_epoch: its epoch.
    """

    epoch: int = 0
    env_steps: int = 0
    elapsed_s: float = 0.0
    best_score: float | None = None
    best_epoch: int | None = None


class RunFolder:
    """Reads and writes the folder of one run.

    Args:
        path: the folder; created if absent.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        self._rows: list[dict[str, float]] = []
        self._writer: Any = None

    # ---- logs

    def continue_logs(self, epoch: int) -> None:
        """Keep what was logged up to an epoch; later lines belong to a part of the run that was lost."""
        path = self.path / "progress.csv"
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [{k: float(v) for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(file)]
            self._rows = [row for row in rows if row["epoch"] <= epoch]

    def log(self, row: Mapping[str, float]) -> None:
        """Add one epoch to the CSV and TensorBoard logs; ``row`` has at least ``epoch``."""
        self._rows.append({k: float(v) for k, v in row.items() if math.isfinite(v)})
        names = list(dict.fromkeys(name for entry in self._rows for name in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        # Written whole: columns may appear later in a run (validation), and a reader never sees half a line.
        write_whole(self.path / "progress.csv", text.getvalue())
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.path), purge_step=int(row["epoch"]))
        for name, value in self._rows[-1].items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Write ``run.json``."""
        write_whole(self.path / "run.json", json.dumps(description, indent=2, default=str) + "\n")

    def close(self) -> None:
        """Close the logs."""
        if self._writer is not None:
            self._writer.close()

    # ---- checkpoints

    def checkpoint(self, state: RunState, save: Callable[[Path], None], export: Callable[[Path], None] | None) -> Path:
        """Write a checkpoint aside, rename it, then point to it; older ones but the best are removed.

        Whatever happens meanwhile (a full disk, a killed process), ``latest.json`` points to a whole checkpoint and
        ``policy/`` is whole; where it is not yet that of the best checkpoint, `publish_policy` makes up for it.

        Args:
            state: where the run stands.
            save: writes the algorithm into a folder.
            export: writes the policy into a folder; None if the algorithm has none to export.
        """
        root = self.path / "checkpoints"
        name = f"epoch_{state.epoch:06d}"
        temporary, final = root / f".{name}.tmp{os.getpid()}", root / name
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            save(temporary / "algorithm")
            if export is not None:
                export(temporary / "policy")
            (temporary / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")
            _synchronise(temporary)  # a rename may reach the disk before the contents do
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            sync_folder(root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        pointer = self._pointer()
        is_best = state.best_epoch == state.epoch
        pointer = {"last": name, "best": name if is_best else pointer.get("best")}
        write_whole(self.path / "latest.json", json.dumps(pointer) + "\n")
        self.publish_policy()
        for other in root.iterdir():
            if other.name not in pointer.values():
                shutil.rmtree(other, ignore_errors=True)
        return final

    def publish_policy(self) -> None:
        """Let ``policy/`` be the policy of the checkpoint that ``latest.json`` calls the best one.

        Both cannot change in one step: whoever goes on with a run calls this, in case it ended between the two.
        """
        for left_over in self.path.glob(".policy.*"):
            shutil.rmtree(left_over, ignore_errors=True)
        pointer = self._pointer()
        best = self.path / "checkpoints" / str(pointer.get("best") or pointer.get("last")) / "policy"
        if best.is_dir() and _contents(best) != _contents(self.path / "policy"):
            _replace_folder(self.path / "policy", best)

    def last_checkpoint(self) -> tuple[Path, RunState]:
        """The checkpoint to go on from.

        Raises:
            FileNotFoundError: if the run has none.
        """
        name = self._pointer().get("last")
        folder = self.path / "checkpoints" / str(name)
        if name is None or not (folder / "state.json").is_file():
            raise FileNotFoundError(
                f"{self.path} has no checkpoint to resume from: expected latest.json and checkpoints/"
            )
        return folder, RunState(**json.loads((folder / "state.json").read_text(encoding="utf-8")))

    def _pointer(self) -> dict[str, str | None]:
        path = self.path / "latest.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _contents(folder: Path) -> dict[str, bytes]:
    """Names and bytes of the files below a folder; empty if there is none."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _replace_folder(target: Path, source: Path) -> None:
    """Put a copy of a folder in the place of another one, which is there whole until then and after an error."""
    copy = target.with_name(f".{target.name}.new{os.getpid()}")
    old = target.with_name(f".{target.name}.old{os.getpid()}")
    try:
        shutil.copytree(source, copy)
        _synchronise(copy)
        if target.exists():
            target.rename(old)
        try:
            copy.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _synchronise(root: Path) -> None:
    """Force the files below a folder, and their names, to the disk."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(folder)
