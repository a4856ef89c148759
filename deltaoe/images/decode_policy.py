"""The rules by which the bytes of an image file become pixels: their number, and the ways to decode that have names."""

from typing import Final, Literal, get_args

# Whoever changes the pixels of any file must change this number, and let ``deltaoe.images.shown_alike`` tell the files
# whose pixels stay: the others are encoded anew when they are extracted the next time.
DECODE_POLICY = 2

# The last rule that changed plain 8-bit files. It is part of a feature space's identity: no older feature can be used.
PLAIN_DECODE_POLICY = 1

# How JPEGs are decoded: whole by the CPU; by the CPU, and reduced by the decoder itself; or by a CUDA device. Pixels
# differ a little, so each is a feature space of its own.
DecodeMode = Literal["exact", "fast", "gpu"]
EXACT: Final = "exact"
FAST: Final = "fast"
GPU: Final = "gpu"
DECODE_MODES: tuple[str, ...] = get_args(DecodeMode)
