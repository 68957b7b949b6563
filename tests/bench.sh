#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench: how long a guest is held and what a change costs, beside what people use now. It decides
# nothing: what is too slow is said, not failed.
#
#   PARTS='window linux live many discovery'    tests/bench/PART.sh each (default all)
#   ROUNDS=N                of each part, instead of its own number
set -u
. "$(dirname "$0")/common.sh"
bad=0
for part in ${PARTS:-window linux live many discovery}; do
  echo "${bold}$part${plain}"
  "tests/bench/$part.sh"
  r=$?
  case $r in
    0) ;;
    77) echo "$part: skipped" ;;
    *) echo "$part: exit $r" && bad=1 ;;
  esac
done
exit $bad
