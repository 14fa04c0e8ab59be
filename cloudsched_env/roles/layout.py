"""How an observation vector is laid out: named, bounded fields in blocks, so that nobody counts columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.sim.compiled import compiled

__all__ = ["Block", "Field", "Layout", "clip"]


@compiled
def clip(value, low, high):
    """``value`` limited to ``[low, high]``."""
    return min(high, max(low, value))


@dataclass(frozen=True)
class Field:
    """One observed quantity.

    Attributes:
        name: what it is, in words of the field.
        unit: unit of the number as it stands in the observation (``"1"`` for ratios).
        low: smallest value; smaller ones are clipped.
        high: largest value; larger ones are clipped.
        doc: one line on its meaning, and whether it is fresh, stale or static.
    """

    name: str
    unit: str
    low: float
    high: float
    doc: str


@dataclass(frozen=True)
class Block:
    """Fields repeated over zero or more axes, row-major, the fields innermost.

    Attributes:
        name: the block's name.
        fields: the fields of one entry.
        axes: name and length of each repetition axis, outermost first; empty for a plain vector.
    """

    name: str
    fields: tuple[Field, ...]
    axes: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block in an observation: the axes, then the fields."""
        return (*(length for _, length in self.axes), len(self.fields))

    @property
    def size(self) -> int:
        """Numbers in the block."""
        return math.prod(self.shape)

    def index(self, field_name: str) -> int:
        """Position of a field on the last axis.

        Raises:
            KeyError: naming the fields that the block does have.
        """
        for position, entry in enumerate(self.fields):
            if entry.name == field_name:
                return position
        raise KeyError(f"block {self.name!r} has no field {field_name!r}: it has {[f.name for f in self.fields]}")


@dataclass(frozen=True)
class Layout:
    """The whole observation of one agent of a role: its blocks, one after the other."""

    role: str
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Length of the flat observation."""
        return sum(block.size for block in self.blocks)

    def block(self, name: str) -> Block:
        """The block of that name.

        Raises:
            KeyError: naming the blocks that there are.
        """
        for entry in self.blocks:
            if entry.name == name:
                return entry
        raise KeyError(f"role {self.role!r} observes no block {name!r}: it has {[b.name for b in self.blocks]}")

    def offset(self, name: str) -> int:
        """Where a block begins in the flat observation."""
        start = 0
        for entry in self.blocks:
            if entry.name == name:
                return start
            start += entry.size
        raise KeyError(f"role {self.role!r} observes no block {name!r}")

    def slice(self, name: str) -> slice:
        """The columns of a block in the flat observation."""
        start = self.offset(name)
        return slice(start, start + self.block(name).size)

    def view(self, observation: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """A block of a (batch of) flat observation(s), without copying.

        Args:
            observation: array of shape ``[..., size]``; a torch tensor works too.
            name: the block.

        Returns:
            The same numbers with shape ``[..., *block.shape]``.
        """
        part = observation[..., self.slice(name)]
        return part.reshape(*part.shape[:-1], *self.block(name).shape)

    def names(self) -> list[str]:
        """A readable name for each number, as in ``slots[3].cores``."""
        return [name for name, _ in self._entries()]

    def low(self) -> NDArray[np.float32]:
        """Lower bounds, shape ``[size]``."""
        return np.array([entry.low for _, entry in self._entries()], dtype=np.float32)

    def high(self) -> NDArray[np.float32]:
        """Upper bounds, shape ``[size]``."""
        return np.array([entry.high for _, entry in self._entries()], dtype=np.float32)

    def _entries(self) -> Iterator[tuple[str, Field]]:
        for block in self.blocks:
            lengths = tuple(length for _, length in block.axes)
            for position in np.ndindex(*lengths):
                label = "".join(f"[{i}]" for i in position)
                for entry in block.fields:
                    yield f"{block.name}{label}.{entry.name}", entry
