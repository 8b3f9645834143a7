# On a host whose own program does not run in a Linux container (macOS), this stage goes in front of an
# agent's Dockerfile: it builds the program from treefort's source.
FROM rust:1-bookworm AS treefort-program
WORKDIR /src
COPY treefort-source/ .
# .cargo/config.toml links statically and names the target, hence the path's pattern.
RUN cargo build --release --locked --bin treefort && cp target/*/release/treefort /treefort
