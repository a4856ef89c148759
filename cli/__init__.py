"""The ``deltaoe`` command."""
