"""From image files to features in the store: decoding in processes, encoding in batches, each content once."""
