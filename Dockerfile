# One image for the code server, the web pages, the daemon, the dashboard, Celery workers and runs on Kubernetes.
FROM python:3.11.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH

RUN groupadd --gid 10001 hvac \
    && useradd --uid 10001 --gid hvac --home-dir /home/hvac --create-home hvac \
    && python -m venv /opt/venv

WORKDIR /app

# As `make setup` does it: uv by its hash, everything else by its hash. Its own layer, because it changes seldom.
COPY requirements-installer.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-installer.lock \
    && uv pip install --no-cache --python /opt/venv/bin/python --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE dagster.yaml workspace.yaml ./
COPY hvac_platform ./hvac_platform
COPY sensors ./sensors
COPY schema ./schema
COPY deploy ./deploy
RUN uv pip install --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation --editable .

# Instance files are read from folders that the user may write to, because Dagster keeps small files beside them.
RUN mkdir -p /opt/dagster/docker /opt/dagster/celery /var/lib/dagster /var/lib/hvac \
    && cp deploy/docker/dagster.yaml deploy/docker/workspace.yaml /opt/dagster/docker/ \
    && cp deploy/celery/dagster.yaml deploy/docker/workspace.yaml /opt/dagster/celery/ \
    && chown -R hvac:hvac /opt/dagster /var/lib/dagster /var/lib/hvac

USER hvac
ENV DAGSTER_HOME=/opt/dagster/docker \
    HVAC_HOME=/var/lib/hvac

EXPOSE 3000 4000 8050
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "4000", "--module-name", "hvac_platform.definitions", "--location-name", "hvac_platform"]
