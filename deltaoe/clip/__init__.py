"""Frozen CLIP models and their text tower with learnable prompts. The only importer of open_clip."""
