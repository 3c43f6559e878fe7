# Stands for a pod: holds its namespaces, and does nothing.
FROM scratch
COPY busybox /bin/busybox
ENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]
