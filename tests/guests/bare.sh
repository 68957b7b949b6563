# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the rows on bare-metal guests share. Source this from bash.
#
#   bare_begin [DEADLINE]    private directory, configuration, a signed hotfix: $fix, named $hotfix
#   bare_guest NAME [ARG...] a guest under tests/tools/bareguest; ${qmp[NAME]}, ${pid[NAME]}
#   bare NAME COMMAND...     asks it; fails if the answer is not "ok"
#   bare_end NAME            ends it
#   scaled N                 N times SCALE percent, at least 1
#   vp ARGS...               the command
#   want CODE REASON ARGS... the command with --json must end so; what it said is in $said

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${O:=$root/build}"
: "${SCALE:=2}"
case $O in /*) ;; *) O=$root/$O ;; esac
export O
vp_bin=$O/vpatch
tools=$O/tests/tools
hotfix=bare-fix

fail() {
  echo "FAILED: $*"
  exit 1
}
scaled() { local n=$(($1 * SCALE / 100)); echo $((n > 0 ? n : 1)); }
vp() { "$vp_bin" "$@"; }

bare_begin() {
  [ -x "$vp_bin" ] && [ -x "$tools/bareguest" ] || fail "$vp_bin or the tools were not built"
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || { echo '/dev/kvm is missing'; exit 77; }
  command -v qemu-system-x86_64 >/dev/null || { echo 'qemu-system-x86_64 is missing'; exit 77; }
  command -v jq >/dev/null || { echo 'jq is missing'; exit 77; }
  command -v openssl >/dev/null || { echo 'openssl is missing'; exit 77; }
  [ "$(id -u)" = 0 ] || { echo 'root is missing'; exit 77; }
  work=$(mktemp -d "${TMPDIR:-/tmp}/vprig.${VP_RUN:-$$}.XXXXXX") || exit 1
  trap 'bare_cleanup' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  mkdir -p "$work"/{certs.d,revoked.d,state,run}
  # The key is made once and kept.
  key=$O/tests/key
  if [ ! -s "$key/key.pem" ]; then
    mkdir -p "$key"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=vpatch test key' \
      -keyout "$key/key.$$" -out "$key/cert.pem" >/dev/null 2>&1 && mv "$key/key.$$" "$key/key.pem" || fail 'no key'
  fi
  cp "$key/cert.pem" "$work/certs.d/"
  cat >"$work/vpatch.conf" <<END
certs-dir = $work/certs.d
revoked-dir = $work/revoked.d
state-dir = $work/state
run-dir = $work/run
deadline = ${1:-2s}
END
  export VPATCH_CONFIG=$work/vpatch.conf
  fix=$work/fix.vpatch
  cp "$O/tests/guests/x86-64/fix.vpatch" "$fix"
  vp sign "$fix" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail 'signing'
}

declare -A qmp pid guest_in guest_out guest_pid

bare_cleanup() {
  local name
  for name in "${!guest_pid[@]}"; do bare_end "$name"; done
  rm -rf "$work"
}

# Its tool ends when its standard input does, and takes the guest with it.
bare_guest() {
  local name=$1 in out
  shift
  mkfifo "$work/$name.in" "$work/$name.out"
  ( # It must not keep another one's input open.
    for in in "${guest_in[@]}"; do exec {in}>&-; done
    exec "$tools/bareguest" "$@" <"$work/$name.in" >"$work/$name.out" 2>"$work/$name.err"
  ) &
  guest_pid[$name]=$!
  exec {in}>"$work/$name.in" {out}<"$work/$name.out"
  guest_in[$name]=$in guest_out[$name]=$out
}
# Waits until it is up.
bare_up() {
  local word
  read -r -t 90 -u "${guest_out[$1]}" word "qmp[$1]" "pid[$1]" && [ "$word" = up ] ||
    fail "$1 did not come up: $word $(cat "$work/$1.err")"
}
bare() {
  local name=$1 answer
  shift
  echo "$*" >&"${guest_in[$name]}"
  read -r -t 60 -u "${guest_out[$name]}" answer || fail "$name: $*: no answer"
  [ "$answer" = ok ] || fail "$name: $*: $answer"
}
bare_end() {
  local in=${guest_in[$1]:-} out=${guest_out[$1]:-}
  [ -n "$in" ] || return 0
  exec {in}>&- {out}<&-
  wait "${guest_pid[$1]}"
  rm -f "$work/$1".*
  unset "guest_in[$1]" "guest_out[$1]" "guest_pid[$1]"
}

want() {
  local code=$1 reason=$2 r got
  shift 2
  said=$(timeout 60 "$vp_bin" "$@" --json 2>"$work/stderr")
  r=$?
  got=$(jq -r .reason <<<"$said" 2>/dev/null)
  [[ $r =~ ^$code$ ]] && [[ "$got" =~ ^($reason)$ ]] ||
    fail "vpatch $*: exit $r, reason '$got', wanted $code '$reason': $said $(cat "$work/stderr")"
}
