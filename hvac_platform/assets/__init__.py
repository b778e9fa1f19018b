"""Software-defined assets, one module each."""

import warnings

import dagster as dg

# Backfill and freshness policies are marked beta; the versions in the lock file are the ones that were tested.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
