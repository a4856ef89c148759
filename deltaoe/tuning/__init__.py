"""From a few images per class to a calibrated detector: tuning loop, recipe, choice of settings, checkpoints."""
