"""What may be read of an HDF5 file: what lies in it, and nothing that it leads to elsewhere.

HDF5 can follow a name into other files (soft and external links, external storage, virtual datasets) and run code of
other libraries to decode what it finds (filter plugins). A file that somebody else wrote could have any file of this
computer read, and its content come out as features or names.
"""

from __future__ import annotations

import math

import h5py

from deltaoe.errors import DamagedError

MOST_ITEMS = 1000
_LAYOUTS = {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_DEFLATE_RATIO = 1100  # deflate packs at most 1032 bytes into one
_DEPTH = 4


def check_self_contained(file: h5py.File) -> None:
    """Check a file of this package: hard links alone, to groups and to datasets that lie whole in the file.

    Raises:
        DamagedError: something in it leads elsewhere, or it has more or deeper groups than a file of this package.
    """
    seen = 0
    groups = [(file.id, "", 0)]
    while groups:
        group, where, depth = groups.pop()
        names = list(group)
        seen += len(names)
        if depth > _DEPTH or seen > MOST_ITEMS:
            raise DamagedError("it holds more groups and datasets than any such file")
        for name in names:
            why = reason_against(group, name)
            if why:
                raise DamagedError(f"its {where}/{name.decode('utf-8', 'backslashreplace')} {why}")
            item = h5py.h5o.open(group, name)
            if isinstance(item, h5py.h5g.GroupID):
                groups.append((item, f"{where}/{name.decode('utf-8', 'backslashreplace')}", depth + 1))


def check_entries(group: h5py.h5g.GroupID, *names: bytes) -> None:
    """Check some entries of a group alone, of a file whose others may be damaged. Raises DamagedError as above."""
    for name in names:
        if why := reason_against(group, name):
            raise DamagedError(f"its {name.decode('utf-8', 'backslashreplace')} {why}")


def reason_against(group: h5py.h5g.GroupID, name: bytes) -> str:
    """Why an entry of a group must not be read, as the end of a sentence about it; empty if it may be.

    A group is fine by itself. Nothing that the entry leads to is opened.
    """
    link = group.links.get_info(name).type
    if link == h5py.h5l.TYPE_EXTERNAL:
        return "is a link to another file, and is not followed"
    if link != h5py.h5l.TYPE_HARD:
        return "is a link, and is not followed"
    item = h5py.h5o.open(group, name)
    if isinstance(item, h5py.h5g.GroupID):
        return ""
    if not isinstance(item, h5py.h5d.DatasetID):
        return "is a named type"
    plan = item.get_create_plist()
    layout = plan.get_layout()
    if plan.get_external_count():
        return "lies in other files (external storage), which are not read"
    if layout == h5py.h5d.VIRTUAL:
        return "is put together of other datasets (virtual), which are not read"
    if layout not in _LAYOUTS:
        return "is stored in a way that is not read"
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if not filters <= _FILTERS:
        return f"is packed by filter {min(filters - _FILTERS)} (gzip, shuffle and fletcher32 are read)"
    return _missing_bytes(item, plan, bool(filters))


def _missing_bytes(item: h5py.h5d.DatasetID, plan: h5py.h5p.PropDCID, filtered: bool) -> str:
    """Why a dataset cannot have all the values that its shape declares; empty if it can."""
    shape = item.shape
    if not shape or not math.prod(shape):
        return ""
    declared = math.prod(shape) * item.get_type().get_size()
    stored = item.get_storage_size()
    if declared > stored * (_DEFLATE_RATIO if filtered else 1):
        return f"is said to be {shape}, {declared:,} bytes, but {stored:,} are there"
    if plan.get_layout() == h5py.h5d.CHUNKED:
        chunks = math.prod(-(-size // chunk) for size, chunk in zip(shape, plan.get_chunk(), strict=True))
        if item.get_num_chunks() < chunks:
            return f"is said to be {shape}, but parts of it were never written"
    return ""
