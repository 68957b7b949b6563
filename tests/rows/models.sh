#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every poke program is checked by spin in every interleaving; what is known to be wrong is found to be,
# with a trace that names CPU and bytes. MODELS, a pattern, picks some.
set -u
gen=$O/tests/tools/pokemodel

# one good|bad MODEL NAME
one() {
  local kind=$1 model=$2 name=$3 errors states trace=''
  mkdir "$d/$name" && cd "$d/$name" || exit 1
  { "$gen" "$name" && cat "$models/$model.pml"; } >model.pml || exit 1
  spin -a model.pml >spin.log 2>&1 && gcc -O0 -w -DSAFETY -DCOLLAPSE -o pan pan.c 2>gcc.log ||
    { echo "$name: FAILED: no checker"; cat spin.log gcc.log; exit 1; }
  timeout 120 ./pan -m1000000 >pan.log 2>&1
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
  states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' pan.log)
  [ ! -e model.pml.trail ] ||
    trace=$(spin -t -k model.pml.trail model.pml 2>/dev/null | grep -o 'CPU . at the site.*' | tail -n 1 | tr -s ' ')
  if grep -q 'max search depth too small\|out of memory' pan.log; then
    echo "$name: FAILED: not all was searched"
  elif [ "$kind:$errors" = good:0 ]; then
    echo "$name: right in $states states"
    exit 0
  elif [ "$kind" = bad ] && [ "${errors:-0}" -gt 0 ] && [ -n "$trace" ]; then
    echo "$name: wrong, as it must be: $trace"
    exit 0
  else
    echo "$name: FAILED: it is $kind, errors ${errors:-unknown}: $trace"
    tail -n 20 pan.log
  fi
  exit 1
}
if [ "${1:-}" = one ]; then
  shift
  one "$@"
fi

for t in spin gcc; do command -v $t >/dev/null || { echo "$t is missing"; exit 77; }; done
[ -x "$gen" ] || { echo "$gen was not built"; exit 1; }
models=$PWD/tests/models
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
export models d
while read -r kind model name; do
  # shellcheck disable=SC2254
  case $name in ${MODELS:-*}) echo "$kind $model $name" ;; esac
done < <("$gen") >"$d/list"
[ -s "$d/list" ] || { echo 'there are no models'; exit 1; }
xargs -a "$d/list" -P "$(nproc)" -L 1 "$PWD/tests/rows/models.sh" one
