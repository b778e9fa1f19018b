#!/bin/sh
# A worker: executes runs, HVAC_WORKER_PROCESSES at a time. It needs DAGSTER_HOME, CELERY_BROKER_URL, CELERY_RESULT_BACKEND
# and the platform's own environment. Without --disable-prefetch a busy worker would hold runs that another could execute.
set -eu
exec celery --app dagster_celery.app worker \
  --queues dagster \
  --concurrency "${HVAC_WORKER_PROCESSES:-2}" \
  --max-tasks-per-child 100 \
  --disable-prefetch \
  --hostname "${HVAC_WORKER_NAME:-hvac}@%h" \
  --loglevel INFO "$@"
