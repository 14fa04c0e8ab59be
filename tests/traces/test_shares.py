"""Queries that fall into shares of their keys when memory is short."""

import duckdb
import pytest

from cloudsched_env.traces.shares import MOST_SHARES, create_table

TOTALS = "SELECT k, sum(v) AS total FROM given WHERE in_share(k) GROUP BY k"


class ShortOfMemory:
    """A connection on which a query over all keys, or over too large a share of them, does not fit."""

    def __init__(self, connection, shares_that_fit):
        self.connection, self.shares_that_fit, self.queries, self.shares = connection, shares_that_fit, [], 1

    def execute(self, query):
        if "MACRO in_share" in query:
            self.shares = int(query.split("%")[1].split("=")[0]) if "%" in query else 1
        elif "SELECT" in query and self.shares < self.shares_that_fit:
            self.connection.execute(query)
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block of size 256.0 KiB")
        self.queries.append(query)
        return self.connection.execute(query)


@pytest.fixture
def given():
    connection = duckdb.connect()
    connection.execute("CREATE TABLE given AS SELECT nullif(i % 97, 0) AS k, i AS v FROM range(5000) r(i)")
    return connection


def rows(connection):
    return connection.execute("FROM found ORDER BY k").fetchall()


def test_with_room_all_keys_are_one_share(given):
    assert create_table(given, f"CREATE TABLE found AS {TOTALS}") == 1
    assert rows(given) == given.execute("SELECT k, sum(v) FROM given GROUP BY k ORDER BY k").fetchall()


@pytest.mark.parametrize("shares", [2, 16, 100])
def test_short_of_memory_every_key_is_still_in_the_table_once(given, shares):
    taken = create_table(ShortOfMemory(given, shares), f"CREATE TABLE found AS {TOTALS}")
    assert shares <= taken <= 4 * shares
    assert rows(given) == given.execute("SELECT k, sum(v) FROM given GROUP BY k ORDER BY k").fetchall()
    assert len(rows(given)) == 97, "a null is a key too"


def test_what_fits_in_no_share_is_reported_and_leaves_no_table(given):
    with pytest.raises(duckdb.OutOfMemoryException):
        create_table(ShortOfMemory(given, 10 * MOST_SHARES), f"CREATE TABLE found AS {TOTALS}")
    with pytest.raises(duckdb.CatalogException):
        rows(given)


def test_other_errors_are_not_tried_again(given):
    connection = ShortOfMemory(given, 1)
    with pytest.raises(duckdb.BinderException):
        create_table(connection, "CREATE TABLE found AS SELECT nothing FROM given WHERE in_share(k)")
    assert sum("MACRO" in query for query in connection.queries) == 1


def test_a_statement_that_makes_no_table_cannot_be_shared(given):
    with pytest.raises(ValueError, match="CREATE TABLE name AS SELECT"):
        create_table(given, f"CREATE VIEW found AS {TOTALS}")
