"""A few images per class to a calibrated detector: the loop, its settings and how they are chosen."""
