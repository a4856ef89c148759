"""What a checksum of each row costs beside what is done to every row that is read: widening to float32 of unit length.

python benchmarks/row_sums.py
"""

from __future__ import annotations

import functools
import timeit

import numpy as np

from deltaoe.store.number_format import as_read
from deltaoe.store.row_sums import row_sums

ROWS = 8192


def main() -> None:
    """Print the times of both for blocks of the usual sizes, the best of seven."""
    for dim in (512, 768, 1024):
        rows = np.random.default_rng(0).standard_normal((ROWS, dim)).astype(np.float16)
        checked, widened = (
            min(timeit.repeat(functools.partial(work, rows), number=1, repeat=7))
            for work in (row_sums, as_read)
        )
        print(
            f"{ROWS} rows of {dim} float16: checksums {1e3 * checked:.2f} ms, widening {1e3 * widened:.1f} ms "
            f"({100 * checked / widened:.1f} %)"
        )


if __name__ == "__main__":
    main()
