"""What lies at a location: its bytes, and how it is recognised unread.

A location is one string (:mod:`deltaoe.images.location_text`). Whoever wants the bytes needs nothing else, in this
process or in another.
"""

from __future__ import annotations

import os
from pathlib import Path

from deltaoe.images.location_text import PARQUET, inside, is_url
from deltaoe.images.walk import Observed, observed


def observe(location: str) -> Observed:
    """Size, modification time, change time and inode of what lies at a location, by which it is recognised unread.

    The times of what lies in a container are the container's, and its inode is the container's mixed with its place in
    it. A row of a Parquet file has that file's size.

    Raises:
        OSError, ValueError: there is no such file, or it cannot be looked at.
        ImageError: there is no such member, or no such object.
    """
    if is_url(location):
        from deltaoe.images.remote import observe_object

        return observe_object(location)
    place = inside(location)
    if place is None:
        return observed(os.stat(location))
    if place[0].lower().endswith(PARQUET):
        from deltaoe.images.parquet_rows import observe_row

        return observe_row(*place)
    from deltaoe.images.tars import observe_member

    return observe_member(*place)


def expected_bytes(location: str) -> int:
    """Bytes at a location as far as that is known without asking for more than a file's size; 0 where it is not.

    Raises:
        OSError, ValueError: there is no such file, or it cannot be looked at.
    """
    if is_url(location):
        return 0
    place = inside(location)
    if place is None:
        return os.stat(location).st_size
    if place[0].lower().endswith(PARQUET):
        return 0
    from deltaoe.images.tars import member_size

    return member_size(*place)


def read_location(location: str) -> bytes:
    """The bytes at a location.

    Raises:
        ImageError: they cannot be read, or are too many for a picture; pipes and devices are not read.
    """
    from deltaoe.images.decode import ImageError, read_bytes

    if is_url(location):
        return read_url(location)[0]
    place = inside(location)
    if place is not None:
        return read_inside(*place)[0]
    if not os.path.isfile(location):
        raise ImageError("no such file" if not os.path.lexists(location) else "not a regular file")
    return read_bytes(Path(location))


def read_url(url: str) -> tuple[bytes, Observed | None]:
    """The bytes at a URL, and how the object was observed before; None where nothing tells one state from another.

    Raises:
        ImageError: as for :func:`read_location`.
    """
    from deltaoe.images.remote import read_object

    return read_object(url)


def read_inside(container: str, member: str) -> tuple[bytes, Observed | None]:
    """The bytes of what lies in a container, and how it was observed; None where the container changed meanwhile.

    Raises:
        ImageError: as for :func:`read_location`.
    """
    if container.lower().endswith(PARQUET):
        from deltaoe.images.parquet_rows import read_row

        return read_row(container, member)
    from deltaoe.images.tars import read_member

    return read_member(container, member)
