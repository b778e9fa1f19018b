"""Where the guarded services of Dagster were up to version 0.1; they are in ``hvac_platform.runtime`` now."""

import sys

from hvac_platform.runtime.guarded_dagster import main

if __name__ == "__main__":
    sys.stderr.write(
        "hvac_platform.guarded_dagster is hvac_platform.runtime.guarded_dagster now; this name goes with 0.3\n"
    )
    main()
