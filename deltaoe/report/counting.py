"""How many images of each folder, class and group have which verdict."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from deltaoe.report.formats import folder_length
from deltaoe.report.model import Report, ReportRow
from deltaoe.report.sentences import group_words


@dataclass
class Count:
    """The images of one folder, class or group.

    Attributes:
        name: of the folder, class or group.
        images: their number, with failed files.
        verdicts: verdict, or ``failed``, → their number; those that occur.
    """

    name: str
    images: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)

    def add(self, verdict: str) -> None:
        """Count one more image."""
        self.images += 1
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1


def by_folder(report: Report) -> list[Count]:
    """The images listed and the failed files of each folder."""
    counts: dict[Hashable, Count] = {}
    for path, verdict in (
        *((row.path, row.verdict) for row in report.rows),
        *((path, "failed") for path, _ in report.failed),
    ):
        folder = path[: folder_length(path)]
        counts.setdefault(folder, Count(folder)).add(verdict)
    return _most_unknown_first(counts)


def by_class(report: Report) -> list[Count]:
    """The images listed of each predicted class."""
    return _counted(report, lambda row: row.label, lambda row: row.label)


def by_group(report: Report) -> list[Count]:
    """The images of each group, of those in a group."""
    return _counted(report, lambda row: row.group, lambda row: group_words(row.group or 0, row.group_name))


def _counted(
    report: Report, key: Callable[[ReportRow], Hashable], name: Callable[[ReportRow], str]
) -> list[Count]:
    counts: dict[Hashable, Count] = {}
    for row in report.rows:
        if key(row) is not None:
            counts.setdefault(key(row), Count(name(row))).add(row.verdict)
    return _most_unknown_first(counts)


def _most_unknown_first(counts: dict[Hashable, Count]) -> list[Count]:
    return sorted(counts.values(), key=lambda one: (-one.verdicts.get("unknown", 0), -one.images, one.name))
