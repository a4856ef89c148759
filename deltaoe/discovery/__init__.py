"""Unknown images as groups: what they look like, which are near-duplicates, and how they become classes."""
