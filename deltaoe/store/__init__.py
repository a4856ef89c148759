"""The workspace on disk: feature store, data sets, text features, locks, and their upkeep."""
