"""What an extraction comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from deltaoe.images.passed_over import Ignored
from deltaoe.short_repr import number_of_notes, short_repr
from deltaoe.store.dataset import DataSet


@dataclass(frozen=True)
class ExtractResult:
    """The data set, and what was done for it.

    Attributes:
        data: lists the usable images with their classes.
        encoded: number of images that went through the model in this run.
        reused: number of images whose files were not opened. Those neither encoded nor reused were known by content
            under another path.
        failed: path and reason of each file that is no usable image, and of each folder, with ``/`` at the end, that
            cannot be listed.
        ignored: numbers of files and folders that were passed over, by reason.
        images_per_class: number of images by class name, in class order.
        unlabelled: number of images without a class.
        views: number of augmented views that every image has.
        precision: arithmetic of the image tower, ``fp32``, ``bf16`` or ``fp16``.
        decode: how JPEGs became pixels, ``exact``, ``fast`` or ``gpu``.
        notes: sentences that warn the user.
        names_said: those of them about class names that were put into words.
        assumed: sentences on what folders and columns of lists were taken for, and what else folders could mean.
    """

    data: DataSet
    encoded: int
    reused: int
    failed: list[tuple[str, str]]
    ignored: Ignored
    images_per_class: dict[str, int]
    unlabelled: int
    views: int
    precision: str
    decode: str
    notes: list[str]
    names_said: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        """The data set, and how many images were encoded, were there already, and failed."""
        return short_repr(
            self,
            repr(self.data),
            f"{self.encoded:,} encoded",
            f"{self.reused:,} reused",
            f"{len(self.failed):,} failed" if self.failed else "",
            number_of_notes(self.notes),
        )
