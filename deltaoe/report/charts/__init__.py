"""Charts as plain geometry (positions and sizes), which templates draw as SVG."""
