"""JPEGs to a model's pixels on its device: decoded, turned upright, resized and cut there, as the CPU would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.images.cuts import Cut
from deltaoe.images.geometry import ONE_COLOUR, Geometry
from deltaoe.images.jpeg_head import JpegHead, jpeg_head
from deltaoe.runtime import beside_others, decode_jpegs, free_memory, is_out_of_memory

_PIXELS = 2**26  # decoded at a time: some 30 bytes each while they are resized
_LYING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_FAILED = "JPEG that the device does not decode"


class JpegFile(Protocol):
    """A file to decode: its bytes, their SHA-256, and the indices of the views to make."""

    data: bytes
    digest: bytes
    views: tuple[int, ...]


class DeviceViews(NamedTuple):
    """Views of a picture, (V, H, W, 3) uint8 on the device, and what is to be said of it, short phrases."""

    pixels: Tensor
    notes: tuple[str, ...]


class _Part(NamedTuple):
    """One view of one file of a batch."""

    file: int
    slot: int
    cut: Cut


class JpegsOnDevice:
    """Decodes JPEGs on a device; what a device does not decode for certain as the CPU does is left to the CPU.

    Args:
        geometry: how pictures are resized and cut.
        device: where.
        decode: from the bytes of files to (3, h, w) uint8 each on the device, or to (1, h, w) if all are ``grey``.

    Attributes:
        left_out: how many files were left to the CPU, by reason.
    """

    def __init__(
        self,
        geometry: Geometry,
        device: torch.device,
        decode: Callable[..., list[Tensor]] = decode_jpegs,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self._geometry, self._device, self._decode = geometry, device, decode
        self._most_pixels = _PIXELS

    def head(self, data: bytes) -> JpegHead | None:
        """The head of a file that the device decodes; None, and it is counted, where the CPU has to."""
        head = jpeg_head(data)
        if head.unusual:
            self.left_out[head.unusual] += 1
            return None
        return head

    @torch.inference_mode()
    def __call__(self, files: Sequence[JpegFile], heads: Sequence[JpegHead]) -> list[DeviceViews | None]:
        """The views of each file, complete on the device; None where it could not be decoded.

        Threads may call it at the same time. Batches are halved for good where the device's memory runs out.

        Args:
            files: n files.
            heads: their heads, of :meth:`head`.
        """
        found: list[DeviceViews | None] = []
        while len(found) < len(files):
            start = len(found)
            stop = start + self._fitting(heads[start:])
            batch = self._batch(files[start:stop], heads[start:stop])
            if batch is None and stop == start + 1:
                batch = [None]
            if batch is None:
                free_memory(self._device)
                self._most_pixels = sum(head.size[0] * head.size[1] for head in heads[start:stop]) // 2
            else:
                found += batch
        self.left_out[_FAILED] += found.count(None)
        return found

    def _fitting(self, heads: Sequence[JpegHead]) -> int:
        """How many of the first files are decoded together."""
        pixels = 0
        for count, head in enumerate(heads):
            pixels += head.size[0] * head.size[1]
            if count and pixels > self._most_pixels:
                return count
        return len(heads)

    def _batch(self, files: Sequence[JpegFile], heads: Sequence[JpegHead]) -> list[DeviceViews | None] | None:
        """Each file's views, or None; None for all where memory ran out."""
        try:
            with beside_others(self._device):
                pictures = self._pictures(files, heads)
                return self._views(files, pictures)
        except (RuntimeError, MemoryError) as cause:
            if is_out_of_memory(cause):
                return None
        # A picture of an extreme shape, perhaps, which the device cannot resize.
        if len(files) == 1:
            return [None]
        alone = [self._batch([file], [head]) for file, head in zip(files, heads, strict=True)]
        return None if None in alone else [found for one in alone if one is not None for found in one]

    def _pictures(self, files: Sequence[JpegFile], heads: Sequence[JpegHead]) -> list[Tensor | None]:
        """Each picture upright, (1 or 3, h, w); None where its decoder fails."""
        pictures: list[Tensor | None] = [None] * len(files)
        for grey in (False, True):
            rows = [i for i, head in enumerate(heads) if head.grey == grey]
            for i, picture in zip(rows, self._decoded([files[i].data for i in rows], grey), strict=True):
                width, height = heads[i].size
                if picture is not None and picture.shape[1:] == (height, width):
                    pictures[i] = _upright(picture, heads[i].orientation)
        return pictures

    def _decoded(self, data: Sequence[bytes], grey: bool) -> Sequence[Tensor | None]:
        if not data:
            return []
        try:
            return self._decode(data, self._device, grey=grey)
        except (RuntimeError, MemoryError) as cause:
            if is_out_of_memory(cause):
                raise
        # One broken file fails all of its call.
        return [None] if len(data) == 1 else [self._decoded([one], grey)[0] for one in data]

    def _views(
        self, files: Sequence[JpegFile], pictures: Sequence[Tensor | None]
    ) -> list[DeviceViews | None]:
        height, width = self._geometry.height, self._geometry.width
        out = [
            None
            if picture is None
            else torch.empty(len(file.views), height, width, 3, dtype=torch.uint8, device=self._device)
            for file, picture in zip(files, pictures, strict=True)
        ]
        for parts in self._alike(files, pictures):
            left, top, right, bottom = parts[0].cut.part
            stack = torch.stack(
                [
                    picture[:, top:bottom, left:right]
                    for part in parts
                    if (picture := pictures[part.file]) is not None
                ]
            )
            shown = self._shown(stack, parts[0].cut)
            for part, pixels in zip(parts, shown, strict=True):
                target = out[part.file]
                if target is not None:
                    target[part.slot] = pixels
        plain = _of_one_colour([views for views in out if views is not None])
        return [
            None if views is None else DeviceViews(views, (ONE_COLOUR,) if next(plain) else ())
            for views in out
        ]

    def _alike(
        self, files: Sequence[JpegFile], pictures: Sequence[Tensor | None]
    ) -> Iterator[Sequence[_Part]]:
        """Views that one call resizes: of pictures of one size and number of channels, with one cut."""
        groups: dict[tuple[object, ...], list[_Part]] = {}
        for i, (file, picture) in enumerate(zip(files, pictures, strict=True)):
            if picture is None:
                continue
            for slot, view in enumerate(file.views):
                channels, h, w = picture.shape
                cut = self._geometry.cut((w, h), file.digest, view)
                groups.setdefault((channels, h, w, cut), []).append(_Part(i, slot, cut))
        yield from groups.values()

    def _shown(self, pictures: Tensor, cut: Cut) -> Tensor:
        """What the model sees, (B, H, W, 3) uint8, of parts of pictures (B, C, h, w)."""
        width, height = cut.size
        pixels = resized(pictures, width, height, self._geometry.interpolation)
        pixels = self._window(pixels, *cut.window).expand(-1, 3, -1, -1)
        if cut.mirrored:
            pixels = pixels.flip(-1)
        return pixels.permute(0, 2, 3, 1)

    def _window(self, pixels: Tensor, left: int, top: int) -> Tensor:
        """The H × W window whose corner lies there, padded where it reaches beyond the pixels."""
        height, width = self._geometry.height, self._geometry.width
        inside = pixels[:, :, max(top, 0) : top + height, max(left, 0) : left + width]
        if inside.shape[2:] == (height, width):
            return inside
        fill = self._geometry.fill_color
        colours = torch.tensor((fill,) * 3 if isinstance(fill, int) else fill, dtype=torch.uint8)
        padded = colours.to(pixels.device)[None, :, None, None].repeat(len(pixels), 1, height, width)
        x, y = max(-left, 0), max(-top, 0)
        padded[:, :, y : y + inside.shape[2], x : x + inside.shape[3]] = inside
        return padded


def resized(pictures: Tensor, width: int, height: int, interpolation: str) -> Tensor:
    """Pictures (B, C, h, w) uint8 at another size, filtered and rounded as Pillow does: first rows, then columns.

    Args:
        pictures: on any device.
        width: new w.
        height: new h.
        interpolation: ``bicubic`` or ``bilinear``.
    """
    pixels = pictures.float()
    for size in ((pictures.shape[2], width), (height, width)):
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode=interpolation, antialias=True, align_corners=False)
            pixels = pixels.add_(0.5).floor_().clamp_(0, 255)
    return pixels.to(torch.uint8)


def _upright(picture: Tensor, orientation: int) -> Tensor:
    """(C, h, w) as EXIF's orientation wants it."""
    if orientation in _LYING:
        picture = picture.transpose(1, 2)
    # From the left of what has been transposed, and from its top.
    across, down = orientation in {2, 3, 6, 7}, orientation in {3, 4, 7, 8}
    return picture.flip([axis for axis, turned in ((2, across), (1, down)) if turned])


def _of_one_colour(views: Sequence[Tensor]) -> Iterator[bool]:
    """Whether each picture's first view has one colour, asked of the device once."""
    if not views:
        return iter(())
    first = torch.stack([one[0] for one in views])
    return iter((first == first[:, :1, :1]).flatten(1).all(1).tolist())
