# Kafka's own clients on a JRE. `java` is the first process, so SIGTERM reaches it.
ARG BASE
FROM ${BASE}
COPY debian /
COPY jre /opt/jre
COPY libs /opt/kafka/libs
USER 65532:65532
ENTRYPOINT ["/opt/jre/bin/java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", "/opt/kafka/libs/*"]
