"""The workspace on disk: feature stores, data sets, cached text features, locks, and their maintenance."""
