"""Measurements of what the source's theorems need and claim: the EBM bound, separation, Hessians of several domains."""
