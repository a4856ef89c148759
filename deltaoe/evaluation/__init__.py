"""Evaluation of detectors and scores: in-distribution, shifted and out-of-distribution images, protocols, results."""
