"""What lies in a workspace: its detectors, listed and compared, and its state."""
