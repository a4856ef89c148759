"""Detectors and scores measured on in-distribution, shifted and unknown images, once or by a protocol."""
