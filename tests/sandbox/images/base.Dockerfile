# What distroless/cc ships, from Debian packages.
FROM scratch
COPY root /
