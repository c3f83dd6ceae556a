# The job in an image: docker build -t registry/graphmtl:0.1.0 .
# torch's own wheels bring CUDA and NCCL; without GPUs:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu ...
# with drivers of an object store (cluster.graph_from), or of MLflow's server (k8s/overlays/mlflow):
#   docker build --build-arg EXTRAS="s3fs psycopg2-binary boto3" ...
# Alone it trains the smoke configuration; with a read-only root as well:
#   docker run --read-only --tmpfs /tmp --tmpfs /workspace:uid=10001 registry/graphmtl:0.1.0
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# slowest to fetch and seldomest to change first
ARG TORCH="torch>=2.10,<2.14"
ARG TORCH_INDEX=""
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"

WORKDIR /app
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*project['dependencies'], *project['optional-dependencies']['solvers'], sep='\n')" > /tmp/requirements.txt \
 && pip install --requirement /tmp/requirements.txt "setuptools>=77"
ARG EXTRAS=""
RUN if [ -n "$EXTRAS" ]; then pip install $EXTRAS; fi

COPY README.md LICENSE ./
COPY job job
COPY mtl mtl
COPY launch launch
RUN pip install --no-deps --no-build-isolation --editable .

# what is in the image, for scanners: a tool of its own lists /opt/venv
RUN python3 -m venv /tmp/sbom \
 && /tmp/sbom/bin/pip install "cyclonedx-bom>=7" \
 && /tmp/sbom/bin/cyclonedx-py environment /opt/venv/bin/python \
    --output-format JSON --output-file /app/sbom.cdx.json

# An image that was built has trained once, and keeps the sampler it compiled for that. numba knows
# its source by time and size, and layers keep no fractions of seconds.
ENV NUMBA_CACHE_DIR=/opt/numba
RUN find /app -name "*.py" -exec touch --date=2026-01-01T00:00:00Z {} +
RUN mkdir /opt/numba /tmp/warm \
 && cd /tmp/warm \
 && python /app/job/train.py /app/job/configs/smoke.yaml track.mlflow=null

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="graphmtl" \
      org.opencontainers.image.description="Multi-task graph learning: one job, one machine or many" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=10001 --group=10001 /workspace
# the code belongs to root: the job cannot change itself
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
COPY --from=build --chown=10001:10001 /opt/numba /opt/numba
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    NUMBA_CACHE_DIR=/opt/numba
USER 10001:10001
WORKDIR /workspace
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "-g", "--"]
CMD ["python", "/app/job/train.py", "/app/job/configs/smoke.yaml"]
