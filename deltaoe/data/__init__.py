"""Every value that reaches disk, and the files it comes from. The only importer of h5py and safetensors."""
