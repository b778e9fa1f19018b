"""Where the guarded services of Dagster were up to version 0.1; ``hvac_platform.runtime.guarded_dagster`` is their name now."""

import sys

from hvac_platform.runtime.guarded_dagster import main

if __name__ == "__main__":
    sys.stderr.write(
        "hvac_platform.guarded_dagster is hvac_platform.runtime.guarded_dagster now; this name goes with 0.3\n"
    )
    main()
