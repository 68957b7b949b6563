#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a hotfix cannot carry faithfully is refused by name, and the guest is as it was.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest ref
bad=0
for f in "$rig_here"/hotfix/refused/*.c; do
  name=$(basename "$f" .c)
  names=$(sed -n 's#^/\* refused: \(.*\) \*/#\1#p' "$f")
  vp build "$f" --kernel "$kernel/build" -o "$hf/$name.vpatch" >"$work/out" 2>&1
  r=$?
  if [ $r = 0 ]; then
    vp sign "$hf/$name.vpatch" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail "signing $name"
    vp apply "$dom" "$hf/$name.vpatch" --json >"$work/out" 2>&1
    r=$?
  fi
  hit=
  for n in $names; do grep -qF -e "$n" "$work/out" && hit=$n; done
  if [ $r != 1 ] || [ -z "$hit" ]; then
    echo "$name: exit $r, and none of '$names' is named: $(tail -n 5 "$work/out")"
    bad=1
  else
    echo "$name: $(grep -m 1 -a '^vpatch:' "$work/out" || head -n 1 "$work/out")"
  fi
done
untouched ref 'all refusals'
exit $bad
