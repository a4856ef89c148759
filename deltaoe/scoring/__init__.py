"""Image features to verdicts: detectors, background labels, ΔEnergy, p-values. The only importer of faiss."""
