"""``python -m deltaoe_cli``."""

from .main import main

main()
