"""What the source's theorems need and claim, measured: the EBM bound, separation, Hessians between domains."""
