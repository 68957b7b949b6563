# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the targets demo, check, check-long, soak, bench and fuzz share. Source this from bash.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
: "${O:=build}"
case $O in /*) ;; *) O=$root/$O ;; esac
: "${VP_KERNELS:=$O/kernels}"
export O VP_KERNELS

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' green='' red='' yellow='' plain=''
fi

# as_owner ARG...: root installs packages; everything else runs as whoever owns the clone, so that
# `sudo make` leaves no root-owned files in it. Call it with the script's own arguments, after
# deps.sh. Under sudo that is $SUDO_USER, unless root owns the clone.
#
# A script with STAGES set runs twice then: as the owner, whose `row` run and `row_root` wait, and as
# root, the other way round. Both add up to one closing line.
as_owner() {
  local owner home
  [ "$(id -u)" = 0 ] || return 0
  owner=$(stat -c %U "$root")
  [ "$owner" != root ] || return 0
  home=$(getent passwd "$owner" | cut -d: -f6)
  mkdir -p "$O" && chown "$owner:" "$O" || exit 1
  set -- runuser -u "$owner" -- env HOME="${home:-/}" USER="$owner" LOGNAME="$owner" "$0" "$@"
  [ -n "${STAGES:-}" ] || exec "$@"
  stage=root stage_file=$(mktemp) && chown "$owner:" "$stage_file" || exit 1
  VP_STAGE_FILE=$stage_file "$@"
  read -r passed failed skipped <"$stage_file" || failed=1 # it died before its tally
  rm -f "$stage_file"
}
passed=0 failed=0 skipped=0
stage='' stage_file=${VP_STAGE_FILE:-}
[ -z "$stage_file" ] || stage=owner

# Packages, then the owner. A missing package is no reason to stop for somebody without root: the
# rows that need it skip and say so.
prepare() {
  local tags=$1
  shift
  # shellcheck disable=SC2086
  [ "$stage" = owner ] || tests/deps.sh $tags || [ $? = 77 ] || exit 1
  as_owner "$@"
}

# --- rows -----------------------------------------------------------------------------------

logs=$O/logs

row_wanted() {
  local pattern
  [ -n "${ROWS:-}" ] || return 0
  for pattern in $ROWS; do
    # shellcheck disable=SC2053
    [[ $1 == $pattern ]] && return 0
  done
  return 1
}

# row NAME SECONDS COMMAND...: runs COMMAND with its output in a log. 0 passes, 77 skips, else
# and after SECONDS it fails and the log's tail is shown. A row may have rows of its own: they count
# as the one that it is.
# ROWS, if set, is a list of patterns: only rows that match one run.
row() { [ "$stage" = root ] || run_row "$@"; }
# The same for what only root may do: /dev/kvm, ptrace of others, BPF.
row_root() { [ "$stage" = owner ] || run_row "$@"; }

run_row() {
  local name=$1 limit=$2 r start=$SECONDS log why
  shift 2
  row_wanted "$name" || return 0
  log=$logs/$name.log
  mkdir -p "${log%/*}"
  timeout -k 15 "$limit" env -u VP_TALLY -u VP_STAGE_FILE "$@" >"$log" 2>&1 </dev/null
  r=$?
  case $r in
    0)
      passed=$((passed + 1))
      echo "${green}ok${plain}   $name ($((SECONDS - start)))"
      ;;
    77)
      skipped=$((skipped + 1))
      why=$(grep -v '^$' "$log" | tail -n 1)
      echo "${yellow}SKIP${plain} $name ($((SECONDS - start))): $why"
      ;;
    *)
      failed=$((failed + 1))
      [ $r != 124 ] && [ $r != 137 ] || echo "timed out after $limit seconds" >>"$log"
      echo "${red}FAIL${plain} $name ($((SECONDS - start))): exit $r, log in $log"
      tail -n 30 "$log" | sed 's/^/     | /'
      ;;
  esac
}

# Rows that neither measure nor start a guest run several at a time: paired_row is row, and paired_end
# waits for them all and shows them.
paired=()
paired_row() {
  local out=$logs/$1.row
  [ "$stage" != root ] && row_wanted "$1" || return 0
  mkdir -p "${out%/*}"
  rm -f "$out.tally"
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  (
    passed=0 failed=0 skipped=0
    run_row "$@" >"$out"
    echo "$passed $failed $skipped" >"$out.tally"
  ) &
  paired+=("$out")
}
paired_end() {
  local out p f s
  wait
  for out in "${paired[@]}"; do
    cat "$out"
    p=0 f=1 s=0
    read -r p f s <"$out.tally" || echo "${red}FAIL${plain} ${out#"$logs"/}: ended before its tally"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    rm -f "$out" "$out.tally"
  done
  paired=()
}

# Marks every process started from here on and every temporary directory of a guest, so that
# nothing-left.sh can find them.
export VP_RUN=$$.$RANDOM

starts_guest() { grep -qE '"tests/lib/(bare|vm)\.h"' "$1"; }

# unit_row PREFIX SECONDS DIR SOURCE: a unit test of the build in DIR. One that says in its source
# that it runs as root does so; one that starts a guest has the machine to itself.
unit_row() {
  local t kind=paired_row
  t=$(basename "$4" .c)
  ! starts_guest "$4" || kind=row
  ! grep -q '^/\* Runs as root' "$4" || kind=row_root
  [ $kind = paired_row ] || paired_end
  $kind "$1/$t" "$2" tests/rows/unit.sh "$3/tests/unit/$t"
}

# tally: the closing line, and the exit code. VP_TALLY names a file in which several runs add up.
tally() {
  if [ "$stage" = root ]; then chown -R --reference="$O" "$logs"; fi
  if [ "$stage" = owner ]; then
    echo "$passed $failed $skipped" >"$stage_file"
    exit
  fi
  if [ -n "${VP_TALLY:-}" ]; then echo "$passed $failed $skipped" >>"$VP_TALLY"; fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
}
