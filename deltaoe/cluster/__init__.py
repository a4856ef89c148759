"""Work on a Ray cluster: one machine with several GPUs, or many machines; Ray is imported where it is asked for."""
