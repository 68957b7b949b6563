#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every package named in deps.list exists in this release, and no registry host is named.
names=$(grep -v '^#' tests/deps.list | awk 'NF != 2 { print "bad line: " $0 > "/dev/stderr"; exit 1 } { print $2 }') || exit 1
# shellcheck disable=SC2086
known=$(apt-cache policy $names 2>/dev/null | awk '/^[^ ]/ { sub(/:$/, ""); p = $0 } /Candidate:/ && $2 != "(none)" { print p }'
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null | sed -n 's/^installed //p')
for p in $names; do
  grep -qxF "$p" <<<"$known" || { echo "$p: no such package"; exit 1; }
done
if grep -rnE '(https?|ftp)://[a-z0-9.]*(debian|ubuntu|kernel)\.' tests Makefile .ci 2>/dev/null; then
  echo 'a registry host is named'
  exit 1
fi
