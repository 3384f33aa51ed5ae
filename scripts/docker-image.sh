#!/usr/bin/env bash
# Builds the statically linked binary, and the image of it (docker/Dockerfile).
set -eu
usage() {
  cat <<'USAGE'
usage: scripts/docker-image.sh [-t IMAGE] [-p PROFILE]

Builds the binary for this machine's processor, without shared libraries, and an image of it. The
image has the binary, an empty /data, and nothing else; it runs as user 65532.

  -t  the image's name        (node:latest)
  -p  cargo's build profile   (release)

The binary is also left in target/docker/node-PROFILE; it runs on any Linux.
USAGE
}
image=node:latest profile=release
[ "${1:-}" != --help ] || { usage; exit 0; }
while getopts "t:p:h" option; do
  case $option in
    t) image=$OPTARG ;; p) profile=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_engine

title='{{index .Config.Labels "org.opencontainers.image.title"}}'
if docker image inspect "$image" >/dev/null 2>&1 &&
  [ "$(docker image inspect -f "$title" "$image")" != "node, distributed protocols" ]; then
  echo "$image is there and is another program's, perhaps Node.js: name this one with -t" >&2
  exit 1
fi

target=$(target_dir)/docker
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --locked --profile "$profile" --bin node --target "$triple" --target-dir "$target"
case $profile in dev) built=debug ;; *) built=$profile ;; esac
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$target/$triple/$built/node" "$context/node"
mkdir "$context/data"
docker build --quiet --tag "$image" --file docker/Dockerfile "$context" >&2
# A binary that is not static starts nowhere in an image with no libraries.
docker run --rm --network none "$image" --version >/dev/null ||
  { echo "$image does not start: is $target/$triple/$built/node static?" >&2; exit 1; }
install -m 755 "$context/node" "$target/node-$profile"
echo "built $image, $(docker image inspect -f '{{.Size}}' "$image") bytes" >&2
