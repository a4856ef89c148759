"""Cells of CSV files: no spreadsheet runs them, and what is read is what was written."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.images.csv_cells import cell_text, path_cell, text_cell

RUN = "=+-@\t\r\n＝＋－＠"  # what OWASP lists as the start of a formula
TEXTS = st.text(st.characters(), max_size=6) | st.text("'=+-@\t\r\nab＝＠", max_size=6)


@given(TEXTS)
def test_a_text_comes_back_and_no_cell_starts_a_formula(text: str) -> None:
    assert cell_text(text_cell(text)) == text
    assert text_cell(text)[:1] not in RUN or not text
    assert text_cell(text) in (text, f"'{text}")


@given(TEXTS)
def test_a_path_is_the_same_file_and_no_formula(path: str) -> None:
    cell = path_cell(path)
    assert cell[:1] not in RUN or not path
    assert os.path.normpath(cell) == os.path.normpath(path)
    # A reader that takes texts out of all cells reads the same path.
    assert cell_text(cell) == cell


@pytest.mark.parametrize("name", ["cat", "'s-Hertogenbosch", "a=b", "1-2", "ä", ""])
def test_usual_names_stay_as_they_are(name: str) -> None:
    assert text_cell(name) == path_cell(name) == cell_text(name) == name
