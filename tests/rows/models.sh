#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every poke program is checked by spin in every interleaving; what is known to be wrong is found to be,
# with a trace that names CPU and bytes.
set -u
for t in spin gcc; do command -v $t >/dev/null || { echo "$t is missing"; exit 77; }; done
gen=$O/tests/tools/pokemodel
[ -x "$gen" ] || { echo "$gen was not built"; exit 1; }
models=$PWD/tests/models
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
bad=0 n=0
while read -r kind model name; do
  case $name in ${MODELS:-*}) ;; *) continue ;; esac
  mkdir "$d/$name" && cd "$d/$name" || exit 1
  { "$gen" "$name" && cat "$models/$model.pml"; } >model.pml || exit 1
  spin -a model.pml >spin.log 2>&1 && gcc -O0 -w -DSAFETY -DCOLLAPSE -o pan pan.c 2>gcc.log ||
    { echo "$name: no checker"; cat spin.log gcc.log; exit 1; }
  timeout 120 ./pan -m1000000 >pan.log 2>&1
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
  states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' pan.log)
  trace=$([ ! -e model.pml.trail ] || spin -t -k model.pml.trail model.pml 2>/dev/null | grep -o 'CPU . at the site.*' | tail -n 1 | tr -s ' ')
  case $kind:$errors in
    good:0) echo "$name: right in $states states" ;;
    bad:0) echo "$name: FAILED: nothing was found wrong with it"; bad=1 ;;
    bad:*) [ -n "$trace" ] && echo "$name: wrong, as it must be: $trace" || { echo "$name: FAILED: no trace"; bad=1; } ;;
    *) echo "$name: FAILED: errors ${errors:-unknown}: $trace"; tail -n 20 pan.log; bad=1 ;;
  esac
  ! grep -q 'max search depth too small\|out of memory' pan.log || { echo "$name: FAILED: not all was searched"; bad=1; }
  n=$((n + 1))
done < <("$gen")
[ $n -gt 0 ] || bad=1
exit $bad
