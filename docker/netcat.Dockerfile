# netcat, to ask a server from inside its network. scripts/sv-test.sh builds and removes it, in a context
# of a static busybox alone.
FROM scratch
COPY busybox /busybox
USER 65532:65532
ENTRYPOINT ["/busybox", "nc"]
