#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# make install honours DESTDIR, PREFIX and SYSCONFDIR, never overwrites configuration, and
# uninstall takes away what install brought.
set -u
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
fail() { echo "$*"; find "$d" | sed 's/^/  /'; exit 1; }
to() { make --no-print-directory O="$d/build" DESTDIR="$d/root" PREFIX=/opt/vp SYSCONFDIR=/opt/etc "$@" || fail "make $* failed"; }

to -j2 install
bin=$(find "$d/root" -type f -name vpatch -perm -100)
[ "$bin" = "$d/root/opt/vp/bin/vpatch" ] || fail "the command is at '$bin'"
"$bin" --version || fail 'the installed command does not run'
stray=$(find "$d/root" ! -type d ! -path "$d/root/opt/vp/*" ! -path "$d/root/opt/etc/*")
[ -z "$stray" ] || fail "outside PREFIX and SYSCONFDIR: $stray"
[ -e "$d/root/opt/vp/include/vpatch/hotfix.h" ] || find "$d/root" -name hotfix.h | grep -q . || fail 'hotfix.h is not installed'
conf=$d/root/opt/etc/vpatch/vpatch.conf
[ -e "$conf" ] || fail 'no vpatch.conf'
echo '# mine' >>"$conf"
before=$(cksum <"$conf")
to install
[ "$(cksum <"$conf")" = "$before" ] || fail 'install overwrote the configuration'
to uninstall
[ "$(cksum <"$conf")" = "$before" ] || fail 'uninstall touched a configuration that somebody had changed'
left=$(find "$d/root" -type f ! -path "$d/root/opt/etc/*")
[ -z "$left" ] || fail "left behind: $left"
