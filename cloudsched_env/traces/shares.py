"""Queries that run share by share where they do not fit into the memory limit at once.

DuckDB spills sorts, joins and aggregates, but a join that feeds an aggregate may need both hash tables at once.
A query whose groups do not cross a key says so by ``in_share(key)`` in its conditions: it holds for all rows at first,
and once the memory limit was hit for the rows of one share of the keys after the other.
"""

from __future__ import annotations

import re
from typing import Any

from cloudsched_env.traces.errors import require
from cloudsched_env.traces.work import is_disk_full, is_out_of_memory

__all__ = ["MOST_SHARES", "create_table"]

MOST_SHARES = 256
_GROWTH = 4
_CREATE = re.compile(r"\s*CREATE TABLE (?P<table>\w+) AS\s(?P<select>.*)", re.DOTALL)


def create_table(connection: Any, query: str) -> int:
    """Run ``CREATE TABLE name AS SELECT ...`` in as few shares as the memory limit allows.

    Args:
        connection: DuckDB.
        query: the statement; without ``in_share(key)`` it runs once, whatever statement it is.

    Returns:
        How many shares it took.

    Raises:
        duckdb.Error: the query is wrong; or one without shares, or even a small share, does not fit.
    """
    if "in_share(" not in query:
        connection.execute(query)
        return 1
    match = _CREATE.fullmatch(query)
    if not match:
        raise ValueError(f"in_share() is for CREATE TABLE name AS SELECT, got {query.strip()[:60]!r}")
    shares = 1
    while True:
        try:
            _in_shares(connection, match["table"], match["select"], shares)
            return shares
        except require("duckdb").Error as error:
            connection.execute(f"DROP TABLE IF EXISTS {match['table']}")
            if not is_out_of_memory(error) or is_disk_full(error) or shares >= MOST_SHARES:
                raise
            shares *= _GROWTH


def _in_shares(connection: Any, table: str, select: str, shares: int) -> None:
    for share in range(shares):
        condition = f"hash(key) % {shares} = {share}" if shares > 1 else "true"
        connection.execute(f"CREATE OR REPLACE TEMP MACRO in_share(key) AS {condition}")
        connection.execute(f"INSERT INTO {table} {select}" if share else f"CREATE TABLE {table} AS {select}")
