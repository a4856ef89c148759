"""deltaoe: which images a CLIP classifier knows, and few-shot tuning that makes it know better."""
