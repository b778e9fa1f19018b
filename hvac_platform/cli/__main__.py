"""``python -m hvac_platform.cli`` is ``hvac``."""

from hvac_platform.cli.main import main

main()
