"""Frozen CLIP models, learnable prompts and label indexes. The only importers of open_clip and faiss."""
