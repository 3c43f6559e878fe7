# A consumer of one binary, for benchmarks: it starts and stops in a fraction of a second.
ARG BASE
FROM ${BASE}
COPY light-consumer /light-consumer
USER 65532:65532
ENTRYPOINT ["/light-consumer"]
