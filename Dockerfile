# SPDX-License-Identifier: Apache-2.0
# Everything that training, firmware builds and emulation need:
#   docker build --tag m3net_tf .
#   docker run --rm --interactive --tty --volume m3net:/home/m3net/.cache m3net_tf make demo
# The digest decides, the tag is for readers. A newer one's digest is in docker-library/repo-info on
# GitHub, repos/debian/remote/, or in the output of `docker pull`.
FROM debian:bookworm-20260918-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251 AS tools
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /setup
COPY Makefile ./
# make system installs the compilers and emulators that the Makefile names; with CI also those for
# the WebAssembly module and for RISC-V.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make python3 python3-venv \
    && CI=1 make system \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/*
# The cache is a folder of the user, so that a volume for it belongs to the user, too.
RUN useradd --create-home --shell /bin/bash --uid 1000 m3net \
    && install --directory --owner m3net --group m3net /home/m3net/.cache /home/m3net/m3net_tf
USER m3net
WORKDIR /home/m3net/m3net_tf

FROM tools
COPY --chown=m3net:m3net . .
RUN make setup
ENV PATH="/home/m3net/m3net_tf/.venv/bin:$PATH"
CMD ["m3net", "doctor"]
