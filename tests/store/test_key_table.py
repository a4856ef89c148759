"""The index in memory: a dictionary says what it must find, whatever the keys have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.store.key_table import GrowingTable, KeyTable

WIDTHS = (8, 16, 34)
Rows = list[tuple[bytes, int]]


def as_keys(keys: list[bytes], width: int) -> np.ndarray:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), width)


def as_table(rows: Rows, width: int) -> KeyTable:
    values = np.array([value for _, value in rows], dtype=np.int64)
    wide = np.array([[value % 251, 7] for _, value in rows], dtype=np.uint8).reshape(-1, 2)
    return KeyTable(as_keys([key for key, _ in rows], width), {"value": values, "wide": wide})


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[Rows], list[bytes]]:
    """Rows that come in several batches, and keys to ask for; few distinct keys, many with equal first bytes."""
    width = draw(st.sampled_from(WIDTHS))
    starts = st.sampled_from([bytes(8), b"\xff" * 8, bytes(range(8)), bytes(7) + b"\1", b"\1" + bytes(7)])
    ends = st.sampled_from(
        [bytes(width - 8), *(bytes(width - 9) + bytes([i]) for i in range(width > 8 and 4))]
    )
    keys = st.one_of(st.builds(bytes.__add__, starts, ends), st.binary(min_size=width, max_size=width))
    rows = st.lists(st.tuples(keys, st.integers(0, 2**60)), max_size=12)
    asked = st.lists(keys, max_size=12)
    return width, draw(st.lists(rows, max_size=8)), draw(asked)


def check_table(table: KeyTable, wanted: dict[bytes, int], asked: list[bytes], width: int) -> None:
    assert len(table) == len(wanted)
    assert {
        key.tobytes(): int(value) for key, value in zip(table.keys, table.columns["value"], strict=True)
    } == (wanted)
    asked = [*asked, *wanted]
    rows = table.find(as_keys(asked, width))
    assert rows.dtype == np.int64
    found = [None if row < 0 else int(table.columns["value"][row]) for row in rows]
    assert found == [wanted.get(key) for key in asked]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(batches())
def test_a_table_is_a_dictionary_whose_last_entry_counts(case):
    width, several, asked = case
    rows = [row for batch in several for row in batch]
    check_table(as_table(rows, width), dict(rows), asked, width)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(batches())
def test_two_tables_as_one(case):
    width, several, asked = case
    first, second = ([row for batch in part for row in batch] for part in (several[::2], several[1::2]))
    both = as_table(first, width).followed_by(as_table(second, width))
    check_table(both, dict(first) | dict(second), asked, width)
    assert both.columns["wide"].dtype == np.uint8
    assert both.columns["wide"].tolist() == [[value % 251, 7] for value in both.columns["value"].tolist()]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(batches())
def test_a_growing_table_is_a_dictionary_too(case):
    width, several, asked = case
    table, wanted = GrowingTable(), {}
    for batch in several:
        table.append(as_table(batch, width))
        wanted |= dict(batch)
        found, columns = table.find(as_keys(asked, width))
        assert found.tolist() == [key in wanted for key in asked]
        # What is not there is zero in every column, and never a neighbour's value.
        assert columns["value"].tolist() == [wanted.get(key, 0) for key in asked]
        assert columns["wide"].tolist() == [
            [wanted[key] % 251, 7] if key in wanted else [0, 0] for key in asked
        ]
    whole = table.whole()
    assert (whole is None) == (not several)
    if whole is not None:
        check_table(whole, wanted, asked, width)


def test_nothing_was_ever_added():
    table = GrowingTable()
    found, columns = table.find(np.zeros((3, 16), dtype=np.uint8))
    assert found.tolist() == [False] * 3
    assert columns == {}
    assert table.whole() is None


def test_an_empty_table():
    table = as_table([], 16)
    assert len(table) == 0
    assert table.find(np.zeros((2, 16), dtype=np.uint8)).tolist() == [-1, -1]
    assert table.find(np.zeros((0, 16), dtype=np.uint8)).tolist() == []
    assert len(table.followed_by(table)) == 0
    one = as_table([(bytes(16), 5)], 16)
    assert len(one.followed_by(table)) == len(table.followed_by(one)) == 1


def test_a_table_does_not_hold_what_it_was_made_of():
    keys, values = np.zeros((2, 16), dtype=np.uint8), np.array([1, 2])
    keys[1] = 9
    table = KeyTable(keys, {"value": values})
    keys[:], values[:] = 7, 7
    assert table.find(np.zeros((1, 16), dtype=np.uint8)).tolist() == [0]
    assert table.columns["value"].tolist() == [1, 2]


def test_keys_may_be_part_of_wider_ones():
    wide = np.random.default_rng(0).integers(0, 256, (50, 34), dtype=np.uint8)
    table = KeyTable(wide[:, :32], {"value": np.arange(50)})
    rows = table.find(wide[::-2, :32])
    assert table.columns["value"][rows].tolist() == list(range(49, -1, -2))


def test_many_keys_as_digests_are():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (60_000, 34), dtype=np.uint8)
    again = rng.permutation(60_000)[:10_000]
    table = GrowingTable()
    table.append(KeyTable(keys, {"value": np.arange(60_000)}))
    table.append(KeyTable(keys[again], {"value": 100_000 + np.arange(10_000)}))
    wanted = np.arange(60_000)
    wanted[again] = 100_000 + np.arange(10_000)
    strange = rng.integers(0, 256, (5000, 34), dtype=np.uint8)
    found, columns = table.find(np.concatenate([keys, strange]))
    assert found.tolist() == [True] * 60_000 + [False] * 5000
    assert (columns["value"][:60_000] == wanted).all()
    assert len(table.whole()) == 60_000


@pytest.mark.parametrize("size", [1, 7, 40])
def test_many_appends_move_each_row_a_few_times_only(size, monkeypatch):
    """A store of thousands of shards is opened by as many appends: each must not copy all that came before."""
    table, moved, appends = GrowingTable(), 0, 512
    join = KeyTable.followed_by

    def counted(first: KeyTable, later: KeyTable) -> KeyTable:
        nonlocal moved
        moved += len(first) + len(later)
        return join(first, later)

    monkeypatch.setattr(KeyTable, "followed_by", counted)
    keys = np.random.default_rng(size).integers(0, 256, (appends * size, 16), dtype=np.uint8)
    for start in range(0, len(keys), size):
        values = np.arange(start, start + size)
        table.append(KeyTable(keys[start : start + size], {"value": values}))
    found, columns = table.find(keys)
    assert found.all()
    assert (columns["value"] == np.arange(len(keys))).all()
    assert moved <= 2 * len(keys) * np.log2(appends)
