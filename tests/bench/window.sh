#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench PARTS=window: the window of every driver, QMP stop+cont and the floor, side by side on a
# bare-metal guest under KVM. Figures (window.json, window.csv) and a plot (window.svg) in O/bench.
#
#   ROUNDS=N     (default 200: a quarter of an hour)
#   NICE=-19     guests and all that measures at that nice value, their session among the others too
#                (sched(7), autogroup): for a machine that does other things meanwhile. As root.
set -u
. "$(dirname "$0")/../common.sh"
STAGES=1
prepare 'build demo bench' "$@"
out=$O/bench
if [ "$stage" != root ]; then
  { make --no-print-directory -j"$(nproc)" tools vmm O="$O" >/dev/null && mkdir -p "$out"; } || failed=1
  [ "$stage" != owner ] || tally
fi
[ $failed = 0 ] || exit 1
[ "$(id -u)" = 0 ] || { echo 'root is missing: /dev/kvm, ptrace, BPF' && exit 77; }
rm -f "$out"/window.*
run=()
# shellcheck disable=SC2016
[ -z "${NICE:-}" ] || run=(setsid -w sh -c 'echo "$0" >/proc/self/autogroup; exec nice -n "$0" "$@"' "$NICE")
"${run[@]}" "$O/tests/bench/window" "$out" "${ROUNDS:-200}" || exit
if command -v gnuplot >/dev/null; then
  gnuplot -e "dat='$out/window.dat'; svg='$out/window.svg'" tests/bench/window.gp || exit 1
  echo "  written: $out/window.json window.csv window.svg"
else
  echo "  written: $out/window.json window.csv; no plot: gnuplot (package gnuplot-nox) is missing"
fi
