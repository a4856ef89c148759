"""Features made elsewhere, in and out: NumPy, HDF5, Parquet and clip-retrieval's folders."""
