#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make demo`: a server, a file system, an access point and the MessageWall function, all in one temporary directory, and
# the session of its course as real curl commands with their answers. Then what EFS and NFS do not promise: eight instances
# over two mounts post 1,000 messages at once, and the wall holds each of them once and whole.
set -eu
cd "$(dirname "$0")/../.."

fail() {
    echo "demo: $*" >&2
    exit 1
}

bin=$PWD/${BERTH_BUILD:-build}/bin
{ [ -x "$bin/berthd" ] && [ -x "$bin/berth-fn" ]; } || fail "$bin/berthd and berth-fn are not built: run make demo"
[ -e /dev/fuse ] || fail "/dev/fuse is missing: load the fuse module, or pass the device into this container (--device /dev/fuse)"
{ [ -r /dev/fuse ] && [ -w /dev/fuse ]; } || fail "/dev/fuse may not be opened by $(id -un): run make demo as root"
[ "$(id -u)" = 0 ] || command -v fusermount3 >/dev/null ||
    fail "fusermount3 is missing (package fuse3): mounting as $(id -un) needs it"
command -v bwrap >/dev/null || fail "bwrap is missing (package bubblewrap): make deps installs it"

# The wall and its clients live on this machine alone, whatever the environment says of proxies and credentials.
unset http_proxy https_proxy all_proxy HTTP_PROXY ALL_PROXY AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
dir=$(mktemp -d)
server=''
functions=''

stop() {
    [ -z "$1" ] || { kill "$1" 2>/dev/null && wait "$1" 2>/dev/null; } || true
}
clean_up() {
    status=$?
    trap - EXIT INT TERM
    stop "$functions"
    stop "$server"
    if [ $status != 0 ]; then
        echo "demo: failed; what the programs said:" >&2
        tail -n 30 "$dir"/*.log >&2
    fi
    if grep -q " $dir/" /proc/self/mountinfo; then
        echo "demo: still mounted below $dir" >&2
        exit 1
    fi
    rm -rf "$dir"
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits for a program's ready line, which names the addresses that it chose.
ready_line() { # LOG PID
    for _ in $(seq 200); do
        if [ -s "$1" ]; then
            cat "$1"
            return
        fi
        case $(cut -d' ' -f3 "/proc/$2/stat" 2>/dev/null) in '' | Z) break ;; esac
        sleep 0.05
    done
    fail "$1: no ready line"
}
show() {
    printf '\n$ %s\n' "$*"
}

echo "== A server, a file system, an access point =="
show 'berthd --data ./data --listen 127.0.0.1:0 --api 127.0.0.1:0 &'
"$bin/berthd" --data "$dir/data" --listen 127.0.0.1:0 --api 127.0.0.1:0 >"$dir/berthd.out" 2>"$dir/berthd.log" &
server=$!
ready=$(ready_line "$dir/berthd.out" $server)
echo "$ready"
data=${ready#*data=}
data=${data%% *}
export BERTH_ENDPOINT="unix:$dir/data/api.sock"

show 'berth fs create'
fs=$("$bin/berth" fs create)
echo "$fs"
show "berth ap create --fs $fs --path /msg --uid 1000 --gid 1000 --owner 1000:1000 --perm 0755"
ap=$("$bin/berth" ap create --fs "$fs" --path /msg --uid 1000 --gid 1000 --owner 1000:1000 --perm 0755)
echo "$ap"

# The sample as it is; only the access point is the one just made.
cp -r docker/messagewall "$dir/messagewall"
sed "s/fsap-[0-9a-f]*/$ap/" docker/messagewall/functions.json >"$dir/messagewall/functions.json"

start_functions() { # OPTION...
    show "berth-fn serve --config functions.json --server $data${*:+ }$* &"
    : >"$dir/berth-fn.out"
    "$bin/berth-fn" serve --config "$dir/messagewall/functions.json" --server "$data" --listen 127.0.0.1:0 "$@" \
        >"$dir/berth-fn.out" 2>"$dir/berth-fn.log" &
    functions=$!
    ready=$(ready_line "$dir/berth-fn.out" $functions)
    echo "$ready"
    url=http://${ready#*http=}/default/MessageWall
}
run_curl() {
    show "$1"
    answer=$(eval "$1" --fail-with-body -sS)
    echo "$answer"
}

echo
echo "== MessageWall, in a sandbox that sees its code and /mnt/msg =="
start_functions
run_curl "curl $url"
run_curl "curl -X POST -H \"Content-Type: text/plain\" -d 'Hello from EFS!' $url"
run_curl "curl -X POST -H \"Content-Type: text/plain\" -d 'Hello again :)' $url"
run_curl "curl $url"
run_curl "curl -X DELETE $url"
run_curl "curl $url"
stop "$functions"
functions=''

echo
echo "== Eight instances over two mounts post 1,000 messages at once =="
start_functions --mounts 2 --max-instances 8
show "tests/demo/post_at_once.py $url $functions"
tests/demo/post_at_once.py "$url" "$functions"
run_curl "curl -X DELETE $url"
