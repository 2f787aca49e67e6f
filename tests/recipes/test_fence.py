"""Resources that refuse holders of the past: in process, in a database, in the tree."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scripted import World

from zkcore.errors import BadArgumentsError, ConfigurationError, MultiError, NoNodeError, StaleTokenError
from zkcore.recipes.fence import FenceGuard, SqliteTokens
from zkcore.recipes.lease import Lease
from zkcore.recipes.lock import Lock
from zkcore.tree.requests import Create, GetData, SetData


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "accounts.db")
    yield connection
    connection.close()


@pytest.fixture(params=["in process", "in SQLite"])
def guard(request: pytest.FixtureRequest, database: sqlite3.Connection) -> FenceGuard:
    return FenceGuard() if request.param == "in process" else FenceGuard(SqliteTokens(database, "accounts"))


def test_a_lower_token_is_refused_and_an_equal_or_higher_one_is_not(guard: FenceGuard) -> None:
    for token in (5, 5, 1 << 62, (1 << 62) + 1):
        guard.check(token)
    with pytest.raises(StaleTokenError, match="of the past"):
        guard.check(1 << 62)
    guard.check((1 << 62) + 1)


@pytest.mark.parametrize("token", [0, -1])
def test_what_cannot_be_a_token_is_refused_in_other_words(guard: FenceGuard, token: int) -> None:
    with pytest.raises(BadArgumentsError, match="fencing_token"):
        guard.check(token)


@given(some.lists(some.integers(1, 5)))
def test_what_was_written_never_goes_back(tokens: list[int]) -> None:
    guard = FenceGuard()
    written: list[int] = []
    for token in tokens:
        write: Callable[[], None] = lambda token=token: written.append(token)  # type: ignore[misc] # noqa: E731
        try:
            guard.write(token, write)
        except StaleTokenError:
            assert token < max(written)
    assert written == sorted(written)
    assert set(written) <= set(tokens)


def test_a_database_keeps_the_token_with_the_write_or_neither(database: sqlite3.Connection) -> None:
    guard = FenceGuard(SqliteTokens(database, "accounts"))
    database.execute("CREATE TABLE account (money INTEGER)")
    guard.check(7)
    database.execute("INSERT INTO account VALUES (100)")
    database.rollback()
    guard.check(6)
    database.execute("INSERT INTO account VALUES (50)")
    database.commit()
    assert database.execute("SELECT money FROM account").fetchall() == [(50,)]
    FenceGuard(SqliteTokens(database, "another")).check(1)
    with pytest.raises(StaleTokenError):
        FenceGuard(SqliteTokens(database, "accounts")).check(5)


def test_a_token_survives_the_process_that_wrote_it(tmp_path: Path) -> None:
    for token in (1, 3):
        connection = sqlite3.connect(tmp_path / "a.db")
        FenceGuard(SqliteTokens(connection, "r")).check(token)
        connection.commit()
        connection.close()
    connection = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(StaleTokenError):
        FenceGuard(SqliteTokens(connection, "r")).check(2)
    connection.close()


def test_a_connection_without_transactions_is_refused_until_one_is_begun() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    guard = FenceGuard(SqliteTokens(connection, "r"))
    with pytest.raises(ConfigurationError, match="BEGIN IMMEDIATE"):
        guard.check(3)
    connection.execute("BEGIN IMMEDIATE")
    guard.check(3)
    connection.execute("COMMIT")
    connection.close()


def test_a_transaction_happens_only_while_the_lease_is_held() -> None:
    world = World()
    holder, other = world.client(), world.client()
    world.do(other.session_id, Create("/balance", b"0"))
    lease: Lease = world.run(Lock(holder, "/l").__aenter__())
    fenced = FenceGuard.transaction(lease, [SetData("/balance", b"1")])
    world.do(holder.session_id, fenced)
    world.expire(holder)
    later: Lease = world.run(Lock(other, "/l").__aenter__())
    # The holder of the past comes back under another session, still believing in its lease.
    with pytest.raises(MultiError) as refused:
        world.do(world.client().session_id, fenced)
    assert refused.value.index == 0
    assert isinstance(refused.value.error, NoNodeError)
    world.do(other.session_id, FenceGuard.transaction(later, [SetData("/balance", b"2")]))
    assert world.do(other.session_id, GetData("/balance")).data == b"2"


# --- those who read together


def test_a_reader_is_refused_behind_a_later_writer_and_makes_earlier_writers_old(database: sqlite3.Connection) -> None:
    in_sqlite = FenceGuard(SqliteTokens(database, "x"), readers=SqliteTokens(database, "x readers"))
    for guard in (FenceGuard(), in_sqlite):
        guard.check(5)
        for token in (9, 7, 5, 9):
            guard.check(token, shared=True)
        with pytest.raises(StaleTokenError):
            guard.check(8)
        guard.check(10)
        with pytest.raises(StaleTokenError):
            guard.check(9, shared=True)
        guard.check(11, shared=True)


def test_a_guard_with_no_place_for_the_tokens_of_readers_says_how_to_make_one(database: sqlite3.Connection) -> None:
    with pytest.raises(ConfigurationError, match="readers="):
        FenceGuard(SqliteTokens(database, "x")).check(5, shared=True)
