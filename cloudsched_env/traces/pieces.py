"""Notes of what is staged: pieces of parts, what was read for them, and which rows were left out.

A note lies beside the Parquet pieces that it describes; an import that is run again trusts a piece only with its note.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cloudsched_env.traces.badrows import BadRow
from cloudsched_env.traces.metadata import SkippedRow, SourceFile
from cloudsched_env.traces.published import PublishedTable

__all__ = ["EXAMPLES_KEPT", "Piece", "SkipLog", "StagedPart", "merged", "piece_path", "read_note", "read_piece"]

EXAMPLES_KEPT = 20


@dataclass
class SkipLog:
    """Malformed rows that were left out: how many for each reason, and the first few of them."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[SkippedRow] = field(default_factory=list)

    def add(self, table: PublishedTable, name: str, row: BadRow) -> None:
        """Count one row of the file ``name``."""
        where = f", column {row.column}" if row.column else ""
        self.reasons[f"{table.name}{where}: {row.reason}"] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(SkippedRow(name, row.line, row.column, f"{row.reason}; found {row.found}"))

    def merge(self, other: SkipLog) -> None:
        """Add what another log holds."""
        self.reasons.update(other.reasons)
        self.examples.extend(other.examples[: EXAMPLES_KEPT - len(self.examples)])


@dataclass(frozen=True)
class Piece:
    """Note of one chunk whose rows are staged."""

    lines: int
    rows: int
    bytes_read: int
    piece_bytes: int
    reasons: dict[str, int]
    examples: list[dict[str, Any]]


@dataclass
class StagedPart:
    """One part whose rows are staged."""

    source: SourceFile
    pieces: list[Path]
    rows: int
    skipped: SkipLog

    def note(self) -> dict[str, Any]:
        """What `read_note` needs to find it again."""
        return {
            "source": asdict(self.source),
            "pieces": {piece.name: piece.stat().st_size for piece in self.pieces},
            "rows": self.rows,
            "reasons": dict(self.skipped.reasons),
            "examples": [asdict(row) for row in self.skipped.examples],
        }


def piece_path(stem: Path, number: int) -> Path:
    """Parquet piece of a chunk."""
    return stem.with_name(f"{stem.name}-{number:05d}.parquet")


def merged(pieces: list[Piece]) -> SkipLog:
    """What was left out of all the chunks of a part."""
    log = SkipLog()
    for piece in pieces:
        log.merge(SkipLog(Counter(piece.reasons), [SkippedRow(**row) for row in piece.examples]))
    return log


def read_piece(note: Path, target: Path) -> Piece | None:
    """The note of a chunk if its piece is there as it was written."""
    try:
        piece = Piece(**json.loads(note.read_text(encoding="utf-8")))
        return piece if not piece.rows or target.stat().st_size == piece.piece_bytes else None
    except (OSError, ValueError, TypeError):
        return None


def read_note(note: Path, stem: Path) -> StagedPart | None:
    """The note of a part if all its pieces are there as they were written."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        if any(stem.with_name(name).stat().st_size != size for name, size in found["pieces"].items()):
            return None
        return StagedPart(
            SourceFile(**found["source"]),
            [stem.with_name(name) for name in found["pieces"]],
            found["rows"],
            SkipLog(Counter(found["reasons"]), [SkippedRow(**row) for row in found["examples"]]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
