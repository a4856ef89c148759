"""Reports as plain data (``model``) and as one self-contained HTML file (``render``)."""
