# The operator's image.
#
#   buildah build -t offset-reset-operator:1.0 .        (or docker build)
#
# compiles inside. With --build-arg BINARY=prebuilt the binary is taken from the build context instead:
# the file offset-reset-operator at its top, built for the base's glibc.
# Both images are pinned by the digest of their tag. Renovate proposes newer ones.
ARG BASE=gcr.io/distroless/cc-debian13:nonroot@sha256:54df941ed0d06a1bd95ef5e0ce391fd8d9f94b64782dc9a60062727849ee3f97
ARG BINARY=compile

FROM docker.io/library/rust:1.95.0-trixie@sha256:0861191076afc8e2dfcf0bec6ad6c2dec8494b3a1e9249729e1989690afed5ec AS compile
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin offset-reset-operator && cp target/release/offset-reset-operator /offset-reset-operator

FROM scratch AS prebuilt
COPY offset-reset-operator /offset-reset-operator

FROM ${BINARY} AS binary

FROM ${BASE}
# Only executable: Linux lets no other process of the same user look into one whose program that user cannot read, from its
# first moment on.
COPY --from=binary --chmod=0111 /offset-reset-operator /usr/local/bin/offset-reset-operator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/offset-reset-operator"]
# Last, because they differ with each build. A release sets all of them.
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/OWNER/offset-reset-operator
ARG BASE
LABEL org.opencontainers.image.title="offset-reset-operator" \
      org.opencontainers.image.description="Resets the offsets of Kafka consumer groups: stop, wait, commit, read back, restore" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The offset-reset operator authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/tree/main/docs" \
      org.opencontainers.image.base.name="${BASE}"
