"""A small world of drawn pictures and a CLIP that was trained on them: the whole main job, offline."""
