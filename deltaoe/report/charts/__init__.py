"""Charts as plain geometry: a template draws what is measured here."""
