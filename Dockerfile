# syntax=docker/dockerfile:1

# The images of the mesh, one for each target:
#
#     docker build --target meshcontrol    --tag meshcontrol:0.1.0 .
#     docker build --target meshproxy      --tag meshproxy:0.1.0 .         # sidecar, gateway
#     docker build --target meshproxy-init --tag meshproxy-init:0.1.0 .    # captures a pod's traffic
#     docker build --target bookinfo       --tag bookinfo:0.1.0 .          # the example
#
# All are from scratch: a program, and what it needs of a system. There is no shell, no package manager
# and no user but 1337, whose own connections `meshproxy iptables` leaves alone.

ARG RUST_VERSION=1.95
ARG ALPINE_VERSION=3.22
ARG DEBIAN_VERSION=13

# Alpine's C library is the one that can be linked into a program completely, name lookups included.
# What it is slower at does not count here: memory is mimalloc's, and names of the mesh are looked up by
# the proxy itself.
FROM rust:${RUST_VERSION}-alpine${ALPINE_VERSION} AS build
# A C compiler for cryptography and memory; both ask the kernel's headers for its numbers.
RUN apk add --no-cache build-base linux-headers
WORKDIR /src
COPY . .
# Each program by itself: what one asks of a library is then not in the other. The folders of cargo
# outlive the build, so that the next one compiles only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package proxy \
    && cargo build --release --locked --package control \
    && cargo build --release --locked --package bookinfo \
    && install -D -t /programs \
        target/release/meshproxy target/release/meshcontrol target/release/bookinfo

# What `meshproxy iptables` runs: nft, for the rules, and ip, for an address of IPv6. With each program
# come the libraries that it names, and nothing else of Debian.
FROM debian:${DEBIAN_VERSION}-slim AS network
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iproute2 nftables \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /image \
    && for program in "$(command -v nft)" "$(command -v ip)"; do \
        cp --parents --dereference "$program" $(ldd "$program" | grep -o '/[^ ]*') /image || exit 1; \
    done

FROM scratch AS base
# By which the sites that workloads call, and issuers of tokens, are believed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
USER 1337:1337

# Each program is run once where it will be: one that needed more than is there would fail here.
FROM base AS meshcontrol
COPY --from=build /programs/meshcontrol /usr/local/bin/meshcontrol
RUN ["meshcontrol", "--version"]
EXPOSE 15012 15014 15017 8080
ENTRYPOINT ["/usr/local/bin/meshcontrol"]

FROM base AS bookinfo
COPY --from=build /programs/bookinfo /usr/local/bin/bookinfo
RUN ["bookinfo", "--version"]
EXPOSE 9080
ENTRYPOINT ["/usr/local/bin/bookinfo"]

# Rules are written once, before anything else of a pod runs, by a container with the right to do so
# (NET_ADMIN) and as root: it alone gets the programs for it.
FROM base AS meshproxy-init
COPY --from=network /image /
COPY --from=build /programs/meshproxy /usr/local/bin/meshproxy
RUN ["nft", "--version"]
RUN ["ip", "-Version"]
RUN ["meshproxy", "--version"]
ENTRYPOINT ["/usr/local/bin/meshproxy"]
CMD ["iptables"]

# The last target is what `docker build` makes if none is named.
FROM base AS meshproxy
COPY --from=build /programs/meshproxy /usr/local/bin/meshproxy
RUN ["meshproxy", "--version"]
EXPOSE 15001 15006 15021 15090
ENTRYPOINT ["/usr/local/bin/meshproxy"]
