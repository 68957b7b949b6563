#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every package named in deps.list exists in this release, and no registry host is named.
names=$(grep -v '^#' tests/deps.list | awk 'NF != 2 { print "bad line: " $0 > "/dev/stderr"; exit 1 } { print $2 }') || exit 1
for p in $names; do
  [ -n "$(apt-cache policy "$p" 2>/dev/null | grep -v '(none)' | grep Candidate)" ] ||
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
    { echo "$p: no such package"; exit 1; }
done
if grep -rnE '(https?|ftp)://[a-z0-9.]*(debian|ubuntu|kernel)\.' tests Makefile .ci 2>/dev/null; then
  echo 'a registry host is named'
  exit 1
fi
