#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The killing tool itself: it counts every step, kills exactly whom it should, exactly there,
# and lets the others run on. The victim here is a shell whose child, the "holder", writes one
# byte a step.
set -u
k=$O/tests/tools/killstep
[ -x "$k" ] || { echo "$k was not built"; exit 1; }
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
victim='(for i in 1 2 3 4 5; do echo h >>'$d'/h; done) & for i in 1 2 3 4 5; do echo m >>'$d'/m; done; wait $! || exit 3'
lines() { cat "$1" 2>/dev/null | wc -l; }
fail() { echo "$*"; exit 1; }

"$k" --count -- sh -c "$victim" >"$d/count" || fail 'count failed'
read -r _ main _ holder _ code <"$d/count"
[ "$code" = 0 ] || fail "exit $code"
[ "$(lines "$d/h")" = 5 ] && [ "$(lines "$d/m")" = 5 ] || fail 'counting changed what the command does'
echo "main $main steps, holder $holder steps"

last=0
for ((s = 1; s <= holder; s += 3)); do
  rm -f "$d/h" "$d/m"
  "$k" --role holder --step $s -- sh -c "$victim" >"$d/out" || fail "holder step $s: $(cat "$d/out")"
  grep -q "^killed holder step $s " "$d/out" || fail "holder step $s: $(cat "$d/out")"
  [ "$(lines "$d/m")" = 5 ] || fail "holder step $s: the main process did not run on"
  n=$(lines "$d/h")
  [ "$n" -ge $last ] || fail "holder step $s: wrote $n, an earlier kill let it write $last"
  last=$n
done
[ $last -ge 4 ] || fail "the last kill came too early: $last"
for ((s = 1; s <= main - 8; s += 7)); do
  rm -f "$d/h" "$d/m"
  "$k" --role main --step $s -- sh -c "$victim" >"$d/out" || fail "main step $s: $(cat "$d/out")"
  grep -q '^main signal 9' "$d/out" || fail "main step $s: $(cat "$d/out")"
  n=$(lines "$d/h")
  [ "$n" = 5 ] || [ "$n" = 0 ] || fail "main step $s: the holder wrote $n and did not run on"
done
"$k" --role holder --step $((holder + 100)) -- sh -c "$victim" >"$d/out"
[ $? = 1 ] && grep -q unreached "$d/out" || fail 'a step that is never reached was reached'
