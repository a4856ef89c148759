"""A list of image files of which each is named by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable

from deltaoe.images.file_list import FileList
from deltaoe.images.file_rows import add_observed
from deltaoe.images.location_text import inside, is_url
from deltaoe.images.locations import observe
from deltaoe.images.walk import FileCollector, Observed, reason


def one_by_one(paths: Iterable[str]) -> FileList:
    """These files, each a row of its own and below a root of its own, whatever they are; repetitions stay.

    Members of containers are files, too. URLs have a problem: what arrives one by one may come from anywhere, and
    nothing is fetched because of it.
    """
    collector = FileCollector(lambda number: None)
    for row, path in enumerate(paths):
        folder, name = os.path.split(path)
        info = problem = None
        collector.files.roots.append(folder)
        try:
            if is_url(path):
                problem = "a URL, and these are not fetched one by one: deltaoe score takes it"
            elif inside(path) is not None:
                seen, problem = observed_member(path)
                add_observed(collector, row, name, seen)
                if problem:
                    collector.files.problems[row] = problem
                continue
            else:
                info = os.stat(path)
        except (OSError, ValueError) as cause:
            problem = reason(cause)
        collector.add(row, name, info, problem)
    return collector.files


def observed_member(location: str) -> tuple[Observed, str]:
    """How what lies in a container is observed, and why it is not; then the observation is all zeros."""
    from deltaoe.images.decode import ImageError

    try:
        return observe(location), ""
    except (OSError, ValueError) as cause:
        return (0, 0, 0, 0), reason(cause)
    except ImageError as cause:
        return (0, 0, 0, 0), str(cause)
