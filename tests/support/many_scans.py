"""Image files that are small and take long to decode."""

from __future__ import annotations

import io

from PIL import Image


def jpeg_of_many_scans(scans: int, side: int = 1024) -> bytes:
    """A JPEG file whose last scan, which says nothing new, comes ``scans`` times more."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (127, 127, 127)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    scan = data[data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda")) : -2]
    return data[:-2] + scan * scans + data[-2:]
