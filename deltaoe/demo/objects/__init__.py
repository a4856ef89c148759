"""What can be seen in the demo's pictures: one drawing program per class, one file per family."""
