"""What the folders of a collection of images mean."""

from __future__ import annotations

from typing import Literal

# Class folders; domain folders that hold class folders; no classes; a table says the classes.
Layout = Literal["class", "domain/class", "flat", "table"]
