#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Fails if a process or a guest's directory of this test run (VP_RUN) is still there.
set -u
parent_of() { sed 's/.*) . //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f1; }

# Our own line of parents, and whatever this script itself has started, are not leftovers.
family=" $$ "
p=$$
while p=$(parent_of "$p") && [ "${p:-0}" -gt 1 ]; do family+="$p "; done
bad=0
for d in /proc/[0-9]*; do
  pid=${d#/proc/}
  case $family in *" $pid "*) continue ;; esac
  tr '\0' '\n' 2>/dev/null <"$d/environ" | grep -qx "VP_RUN=$VP_RUN" || continue
  p=$pid
  while p=$(parent_of "$p") && [ "${p:-0}" -gt 1 ] && [ "$p" != $$ ]; do :; done
  [ "$p" != $$ ] || continue
  echo "still running: $pid $(tr '\0' ' ' 2>/dev/null <"$d/cmdline")"
  bad=1
done 2>/dev/null
for d in "${TMPDIR:-/tmp}"/vprig."$VP_RUN".*; do
  [ ! -e "$d" ] || { echo "left behind: $d"; bad=1; }
done
[ $bad = 0 ] && echo 'nothing of this run is left'
exit $bad
