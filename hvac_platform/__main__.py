"""``python -m hvac_platform`` is ``hvac``."""

from hvac_platform.cli.main import main

main()
