"""Results as tables, Markdown documents, and HTML pages of one file each."""
