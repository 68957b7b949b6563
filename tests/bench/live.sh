#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench PARTS=live: how many sites a second each discipline changes, while two CPUs run the site, beside
# `stop` on the same site of the same guest. A change is over when every CPU has come round twice behind
# it. Every architecture whose site guest was built; all but x86-64's are emulated: the ratio counts.
#
#   TOGGLES=N    of each discipline and probe (default 2000)
set -u
. "$(dirname "$0")/../common.sh"
: "${TOGGLES:=2000}"
prepare 'build demo bench' "$@"
live=$O/tests/tools/sitelive
make --no-print-directory -j"$(nproc)" all "$live" O="$O" >/dev/null || exit 1
said=$(mktemp "${TMPDIR:-/tmp}/vplive.XXXXXX")
trap 'rm -f "$said"' EXIT
bad=0 n=0
for guest in "$O"/tests/guests/*/sites.elf; do
  [ -e "$guest" ] || continue
  arch=$(basename "$(dirname "$guest")")
  # A guest that only shows a table has no probes.
  "$live" "$arch" "$guest" --list >"$said" 2>&1 || { echo "  $arch: left out: $(tail -n 1 "$said")"; continue; }
  "$live" "$arch" "$guest" --discipline each --toggles "$TOGGLES" >"$said" 2>&1
  r=$?
  case $r in
    0) n=$((n + 1)) ;;
    77) echo "  $arch: $(tail -n 1 "$said")"; continue ;;
    *) echo "  $arch: $(tail -n 1 "$said")" && bad=1 && continue ;;
  esac
  # `arm64 nop word: 2000 toggles, 1234/s; ...`; the slowest and the fastest probe of each discipline, and
  # what it is against stop on the same probe.
  awk -v arch="$arch" '
    function add(d, rate, ratio) {
      if (!(d in n)) { order[++k] = d; lo[d] = hi[d] = rate; rlo[d] = rhi[d] = ratio }
      n[d]++
      if (rate < lo[d]) lo[d] = rate
      if (rate > hi[d]) hi[d] = rate
      if (ratio < rlo[d]) rlo[d] = ratio
      if (ratio > rhi[d]) rhi[d] = ratio
    }
    / toggles, / { d = $3; sub(/:$/, "", d); rate = $6; sub(/\/s.*/, "", rate); of[$2, d] = rate + 0; probe[++p] = $2; disc[p] = d }
    END {
      for (i = 1; i <= p; i++)
        add(disc[i], of[probe[i], disc[i]], (probe[i], "stop") in of ? of[probe[i], disc[i]] / of[probe[i], "stop"] : 0)
      for (i = 1; i <= k; i++) {
        d = order[i]
        printf "  %-8s %-8s %8.0f to %8.0f sites/s   : stop %6.1f to %6.1f : 1   (%d probes)\n", arch, d, lo[d], hi[d], rlo[d], rhi[d], n[d]
      }
    }' "$said"
done
[ $n -gt 0 ] || [ $bad = 1 ] || { echo 'no site guest was built: no compiler for any'; exit 77; }
exit $bad
