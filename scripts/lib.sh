# What the other scripts share. Sourced, not run.

# The binary: NODE, or what `make build` made, or else what `make docker-image` did.
node_binary() {
  local binary=${NODE:-$(target_dir)/release/node}
  if [ ! -x "$binary" ] && [ -z "${NODE:-}" ]; then
    binary=$(target_dir)/docker/node-release
  fi
  if [ ! -x "$binary" ]; then
    echo "${NODE:-$(target_dir)/release/node} is not there: run make build, or set NODE to the binary" >&2
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

# runs_its_config PIDFILE: whether that node runs, with the config beside the file: after a crash of the
# machine the number may be that of another node.
runs_its_config() {
  local config
  is_running "$1" || return 1
  config=$(tr '\0' '\n' 2>/dev/null < "/proc/$(cat "$1")/cmdline" | sed -n '/^--config$/{ n; p; q; }')
  case $config in
    /*) ;;
    *) config=/proc/$(cat "$1")/cwd/$config ;;
  esac
  [ "$config" -ef "${1%.pid}.toml" ]
}

# clear_folder DIR WHAT [ADVICE]: removes what an earlier run has left in DIR, or ends the script while
# nodes of it still run: they are WHAT. To be called before a trap that stops the nodes of DIR.
clear_folder() {
  local file
  for file in "$1"/node-*.pid; do
    if runs_its_config "$file"; then
      echo "$2 already runs; ${3:+$3, or }stop it with scripts/cluster.sh down $1" >&2
      exit 1
    fi
  done
  rm -rf "$1"
}

# is_complete SERVER: whether that server answers GETs, and PUTs reach the leader.
is_complete() { "$(node_binary)" kv --servers "$1" --json info | grep -q '"complete":true'; }

# servers_agree ADDR...: whether these servers of the bulletin system hold the same coordinator.
servers_agree() {
  local held
  # It fails unless all of them answer.
  held=$("$(node_binary)" skew --readings 1 --timeout-ms 1000 --nodes "$(IFS=,; echo "$*")" --json) || return 1
  held=$(echo "$held" | grep -o '"coordinator":[0-9a-z]*') || return 1
  [ "$(echo "$held" | sort -u | wc -l)" = 1 ] && [ "${held#*:null}" = "$held" ]
}

# What the generate-*.sh scripts share: the options -n -o -p -a -q, and the tables of a config that
# every node has. Such a script sets its defaults before it takes options:
#   nodes dir port address console   what the options set
#   cluster                          the cluster's name
#   explained                        the config whose comments explain the keys
#   durable                          true: nodes have a data_dir
#   listeners                        gateways and what each adds to PORT, such as "native:0 json:2000"
#   hub                              the node that alone has clients and a data_dir, and that the others
#                                    have for their only peer; it has the highest id, so that they dial.
#                                    Empty where all nodes are equals
hub=""

# shared_option OPTION VALUE: takes an option that all share, and fails at any other.
shared_option() {
  case $1 in
    n) nodes=$2 ;; o) dir=$2 ;; p) port=$2 ;; a) address=$2 ;; q) console=false ;;
    *) return 1 ;;
  esac
}

# need_numbers NAME VALUE...: ends the script unless each value is a number that fits.
need_numbers() {
  while [ $# -gt 0 ]; do
    case $2 in
      "" | *[!0-9]* | ??????????*) echo "$1 is a number of up to 9 digits, not \"$2\"" >&2; exit 2 ;;
    esac
    shift 2
  done
}

# is_ipv4 TEXT: whether it is four numbers of 0 to 255, as configs take them.
is_ipv4() {
  local part parts
  case $1 in *[!0-9.]* | *..* | .* | *. | *.*.*.*.*) return 1 ;; *.*.*.*) ;; *) return 1 ;; esac
  IFS=. read -r -a parts <<< "$1"
  for part in "${parts[@]}"; do
    case $part in 0?* | ????*) return 1 ;; esac
    [ "$part" -le 255 ] || return 1
  done
}

# need_address ADDRESS: ends the script unless it is an IP address as configs have it. Whether [IPv6] is
# right is left to the node.
need_address() {
  case $1 in "["*[!0-9a-fA-F:.]*"]") ;; "["*:*"]") return ;; esac
  if ! is_ipv4 "$1"; then
    echo "ADDRESS is an IP address, such as 127.0.0.1 or [::1], not \"$1\"" >&2
    exit 2
  fi
}

# no_more ARGUMENT...: ends the script when something is left of the command line.
no_more() {
  if [ $# -gt 0 ]; then
    echo "what is \"$1\"? options come first, and nothing else; see -h" >&2
    exit 2
  fi
}

# write_configs WRITER: writes DIR/node-1.toml … DIR/node-N.toml; `WRITER ID` prints the tables of the
# protocols. Where there is a function `name_of ID`, it says what a node is called.
write_configs() {
  local writer=$1 i last
  need_numbers NODES "$nodes" PORT "$port"
  need_address "$address"
  if [ "$nodes" -lt 1 ] || [ "$nodes" -gt 1000 ]; then
    echo "NODES must be 1 to 1000: each group of listeners has 1000 ports" >&2
    exit 2
  fi
  last=${listeners##*:}
  if [ "$port" -lt 1 ] || [ $((port + last + nodes)) -gt 65536 ]; then
    echo "PORT must leave room for $((last + nodes)) ports below 65536" >&2
    exit 2
  fi
  mkdir -p "$dir"
  rm -f "$dir"/node-*.toml
  for i in $(seq "$nodes"); do
    { node_tables "$i" && "$writer" "$i"; } > "$dir/node-$i.toml"
  done
  echo "wrote $nodes configs to $dir" >&2
}

# node_tables ID: [node], [peers] and the listeners.
node_tables() {
  local group equal=true
  [ -z "$hub" ] || [ "$hub" = "$1" ] || equal=false
  echo "# Node $1 of $nodes, written by scripts/$(basename "$0"); $explained explains the keys."
  echo "[node]"
  echo "id = $1"
  if declare -F name_of > /dev/null; then echo "name = \"$(name_of "$1")\""; fi
  echo "cluster = \"$cluster\""
  echo "console = $console"
  if [ "$durable" = true ] && [ "$equal" = true ]; then echo "data_dir = \"$dir/data-$1\""; fi
  echo
  echo "[peers]"
  if [ "$equal" = false ]; then
    echo "$hub = \"$address:$((port + hub - 1))\""
    echo
    echo "[[listeners]]"
    echo "addr = \"$address:$((port + $1 - 1))\""
    echo
    return
  fi
  # A thousand nodes have a million lines here: too many for the shell.
  seq "$nodes" | awk -v id="$1" -v address="$address" -v port="$port" \
    '$1 != id { printf "%d = \"%s:%d\"\n", $1, address, port + $1 - 1 }'
  for group in $listeners; do
    echo
    echo "[[listeners]]"
    echo "addr = \"$address:$((port + ${group#*:} + $1 - 1))\""
    echo "gateway = \"${group%:*}\""
  done
  echo
}

# status_of ADDR FIELD: one number of a lamport node's status, such as `clock`.
status_of() {
  local status
  status=$("$(node_binary)" clock --server "$1" --status --json) || return 1
  status=${status##*\"$2\":}
  echo "${status%%[,\}]*}"
}

# rows FILE...: how many bets files have. A quoted field may hold line ends, and the last row may have
# none: a line that leaves a quote open is not the end of its row.
rows() {
  awk '{ quotes += gsub(/"/, "") } quotes % 2 == 0 { if ($0 !~ /^\r?$/ || quotes) n++; quotes = 0 }
    END { print n + 0 }' "$@"
}

# winners ID: the winners of that agency, as in winners.txt, from its console lines.
winners() {
  # The brackets hold the documents.
  sed -n "s/.*action: consulta_ganadores | result: success .*dni_ganadores: \[\(.*\)\]\"\$/$1: \1/p" |
    sed 's/ *$//'
}

# watch SCENARIO HINT: starts the nodes that generate-SCENARIO.sh makes, traced, and shows their
# consoles until interrupted; from the project's folder.
watch() {
  local dir=run/$1
  node_binary > /dev/null
  clear_folder "$dir" "make $1"
  "scripts/generate-$1.sh" -o "$dir"
  # shellcheck disable=SC2064
  trap "scripts/cluster.sh down $dir; echo 'the nodes are stopped' >&2" EXIT
  trap 'exit 0' INT TERM
  NODE_TRACE=1 scripts/cluster.sh up "$dir"
  scripts/cluster.sh status "$dir" >&2
  echo "a line: [node] [clock.node] what happened; end with Ctrl-C. In another terminal:
$2" >&2
  scripts/cluster.sh tail "$dir"
}
