"""Image files to pixels: which files there are, their classes, and what a model sees. The only importer of Pillow."""
