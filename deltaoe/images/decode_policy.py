"""The number of the rule by which the bytes of an image file become pixels, apart from what applies it."""

# Whoever changes the pixels of any file must change this number, and let ``deltaoe.images.shown_alike`` tell the files
# whose pixels stay: the others are encoded anew when they are extracted the next time.
DECODE_POLICY = 2

# The last rule that changed plain 8-bit files. It is part of a feature space's identity: no older feature can be used.
PLAIN_DECODE_POLICY = 1
