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
for f in libvpatch.a libvpatch.so libvpatch.so.0 pkgconfig/libvpatch.pc; do
  [ -s "$d/root/opt/vp/lib/$f" ] || fail "no $f"
done
grep -q '^prefix=/opt/vp$' "$d/root/opt/vp/lib/pkgconfig/libvpatch.pc" || fail 'libvpatch.pc names another PREFIX'
[ -s "$d/root/opt/vp/share/man/man1/vpatch.1" ] || fail 'no man page'
grep -q /opt/etc/vpatch/certs.d "$d/root/opt/vp/share/man/man1/vpatch.1" || fail 'the man page names another SYSCONFDIR'
bash -n "$d/root/opt/vp/share/bash-completion/completions/vpatch" || fail 'no completion that bash can read'
for t in certs.d revoked.d; do
  [ "$(stat -c %a "$d/root/opt/etc/vpatch/$t")" = 755 ] || fail "$t does not have mode 755"
done
# Installed elsewhere than configured, the command still finds its header: it fails at the kernel.
touch "$d/fix.c"
"$bin" build "$d/fix.c" --kernel "$d/nothing" -o "$d/x" 2>&1 | grep -q hotfix.h && fail 'the command does not find hotfix.h'
conf=$d/root/opt/etc/vpatch/vpatch.conf
[ -e "$conf" ] || fail 'no vpatch.conf'
"$bin" --config "$conf" verify "$d/fix.c" >/dev/null 2>&1 || [ $? != 2 ] || fail 'the vpatch.conf that is shipped is not accepted'
grep -q '^#certs-dir = /opt/etc/vpatch/certs.d$' "$conf" || fail 'vpatch.conf names another SYSCONFDIR'
sed 's/^#\([a-z-]* = \)/\1/' "$conf" >"$d/all.conf" && chmod 644 "$d/all.conf"
"$bin" --config "$d/all.conf" verify "$d/fix.c" --json | grep -q '"reason":"config"' && fail 'a default in vpatch.conf is not accepted'
echo '# mine' >>"$conf"
touch "$d/root/opt/etc/vpatch/certs.d/mine.pem"
before=$(cksum <"$conf")
to install
[ "$(cksum <"$conf")" = "$before" ] || fail 'install overwrote the configuration'
to uninstall
[ "$(cksum <"$conf")" = "$before" ] || fail 'uninstall touched a configuration that somebody had changed'
[ -e "$d/root/opt/etc/vpatch/certs.d/mine.pem" ] || fail 'uninstall took a certificate away'
left=$(find "$d/root" ! -type d ! -path "$d/root/opt/etc/*")
[ -z "$left" ] || fail "left behind: $left"
