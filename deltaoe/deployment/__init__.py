"""Exporting a detector with its image tower, to score images where PyTorch is not installed."""
