"""Frozen CLIP models, and prompts learned through their text tower. Besides the demo, the only user of open_clip."""
