"""Results for people to read: tables, Markdown, and HTML pages of one file each."""
