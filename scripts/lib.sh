# What the other scripts share. Sourced, not run.

# The binary: NODE, or what `make build` made, or else what `make docker-image` did.
node_binary() {
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  local binary=${NODE:-$here/target/release/node}
  if [ ! -x "$binary" ] && [ -z "${NODE:-}" ]; then
    binary=$(target_dir)/docker/node-release
  fi
  if [ ! -x "$binary" ]; then
    echo "${NODE:-$here/target/release/node} is not there: run make build, or set NODE to the binary" >&2
    exit 1
  fi
  echo "$binary"
}

# Where cargo builds.
target_dir() { echo "${CARGO_TARGET_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target}"; }

# Ends the script where no container engine answers.
need_engine() {
  if ! docker info >/dev/null 2>&1; then
    echo "docker info fails: install a container engine and start it, or ask to be let in (group docker)" >&2
    exit 1
  fi
}

# compose ARGUMENTS...: Docker Compose, as the engine's plugin or as the command of old.
compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose "$@"
  elif command -v docker-compose >/dev/null; then
    docker-compose "$@"
  else
    echo "Docker Compose is not there: install the package docker-compose-plugin or docker-compose" >&2
    return 127
  fi
}

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds, or says what did not happen.
wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "timed out after $seconds s: $what" >&2
      return 1
    fi
    sleep 0.05
  done
}

# is_running PIDFILE: whether the process of that file is there, is a node and has not ended. One that
# has ended stays a zombie where nobody reaps it, as in a container without an init.
is_running() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && grep -q node "/proc/$pid/comm" 2>/dev/null &&
    ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

# is_complete SERVER: whether that server answers GETs, and PUTs reach the leader.
is_complete() { "$(node_binary)" kv --servers "$1" --json info | grep -q '"complete":true'; }
