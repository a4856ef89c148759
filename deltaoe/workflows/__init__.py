"""One function per job: extract, tune, score. Usable without the command line; progress goes to a callback."""
