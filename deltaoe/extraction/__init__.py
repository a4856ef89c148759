"""Images to features in the store: decoding in processes, encoding in batches, nothing twice."""
