"""From image features to verdicts: detectors, background labels, ΔEnergy, p-values. Only this package imports faiss."""
