# The operator's image.
#
#   buildah build -t offset-reset-operator:1.0 .        (or docker build)
#
# compiles inside. With --build-arg BINARY=prebuilt the binary is taken from the build context instead:
# the file offset-reset-operator at its top, built for the base's glibc.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG BINARY=compile

FROM docker.io/library/rust:1.95-bookworm AS compile
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin offset-reset-operator && cp target/release/offset-reset-operator /offset-reset-operator

FROM scratch AS prebuilt
COPY offset-reset-operator /offset-reset-operator

FROM ${BINARY} AS binary

FROM ${BASE}
LABEL org.opencontainers.image.title="offset-reset-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
# Only executable: Linux lets no other process of the same user look into one whose program that user cannot read, from its
# first moment on.
COPY --from=binary --chmod=0111 /offset-reset-operator /usr/local/bin/offset-reset-operator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/offset-reset-operator"]
