"""A table on disk finds what a table in memory finds, whatever the keys have in common and wherever pages begin."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.store import paged_table
from deltaoe.store.key_table import KeyTable, in_ranges
from deltaoe.store.paged_table import Bytes, IndexFileError, PagedTable, write_table

WIDTH = 16
ROW = np.dtype([("key", "u1", (WIDTH,)), ("value", "<i4"), ("wide", "u1", (4,))])
STARTS = [bytes(8), b"\xff" * 8, bytes(range(8)), bytes(7) + b"\1", b"\1" + bytes(7)]
KEYS = st.one_of(
    st.builds(
        bytes.__add__, st.sampled_from(STARTS), st.integers(0, 30).map(lambda i: bytes(7) + bytes([i]))
    ),
    st.binary(min_size=WIDTH, max_size=WIDTH),
)


def as_keys(keys: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), WIDTH)


def in_memory(keys: list[bytes]) -> KeyTable:
    values = np.arange(len(keys), dtype=np.int32)
    return KeyTable(as_keys(keys), {"value": values, "wide": values.view(np.uint8).reshape(-1, 4)})


def on_disk(table: KeyTable, path: Path, rows: int = 5) -> PagedTable:
    with path.open("wb") as out:
        out.write(b"before")
        pages = write_table(out, in_ranges([table], rows), ROW)
        out.write(b"behind")
    return PagedTable(Bytes(path), pages, ROW, {})


def same(one: KeyTable, other: KeyTable) -> None:
    assert np.array_equal(one.keys, other.keys)
    for name, column in other.columns.items():
        assert np.array_equal(one.columns[name], column) and one.columns[name].dtype == column.dtype


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged_table, "PAGE_ROWS", 4)
    monkeypatch.setattr(paged_table, "_PAGES_AT_ONCE", 3)
    monkeypatch.setattr(paged_table, "_GAP_PAGES", 1)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(KEYS, max_size=90), st.lists(KEYS, max_size=12), st.tuples(KEYS, KEYS))
def test_a_table_on_disk_is_one_in_memory(keys, asked, ends):
    table = in_memory(keys)
    with tempfile.TemporaryDirectory() as folder:
        paged = on_disk(table, Path(folder, "table"))
        assert len(paged) == len(table)
        low, high = sorted(int.from_bytes(end[:8], "little") for end in ends)
        same(paged.between(low, high), table.between(low, high))
        same(paged.between(0, 1 << 64), table)
        asked = [*asked, *keys[::2]]
        for some in (asked, *([one] for one in asked)):
            positions, columns = paged.pick(as_keys(some))
            rows = table.find(as_keys(some))
            assert sorted(positions.tolist()) == np.flatnonzero(rows >= 0).tolist()
            for name, column in table.columns.items():
                assert np.array_equal(columns[name], column[rows[positions]])


def test_each_changed_byte_of_a_page_is_noticed_by_whoever_reads_it(tmp_path):
    table = in_memory([bytes([i]) + bytes(WIDTH - 1) for i in range(10)])
    path = tmp_path / "table"
    paged = on_disk(table, path)
    content = path.read_bytes()
    for at in range(6, len(content) - 6):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(IndexFileError, match="has changed"):
            paged.check()
        page = (at - 6) // (4 * ROW.itemsize)
        for key in table.keys[4 * page : 4 * page + 4]:
            with pytest.raises(IndexFileError, match="has changed"):
                paged.pick(key[None])
        with pytest.raises(IndexFileError, match="has changed"):
            paged.pick(table.keys)
    path.write_bytes(content[:60])
    with pytest.raises(IndexFileError, match="is cut off"):
        paged.pick(table.keys)
