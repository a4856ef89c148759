"""Files copied, moved or linked into folders, and put back."""
