#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# scales
# Bundles that are cut short, have a byte flipped, are for another architecture or kernel, too
# large, unsigned, signed by a stranger or revoked: refused, and the guest is as it was.
set -u
. "$(dirname "$0")/vp.sh"
vp_begin "$1"
vp_guest bun
vp_hotfix banner
b=$hf/banner.vpatch
size=$(stat -c %s "$b")
x=$work/x.vpatch

: >"$x"
want 1 'bad-bundle|untrusted' apply "$dom" "$x"
want 1 'no-permission|io|bad-bundle|untrusted' apply "$dom" "$work"
want 1 io apply "$dom" "$work/absent.vpatch"
for n in 1 4 64 $((size / 2)) $((size - 1)); do
  head -c "$n" "$b" >"$x"
  want 1 'bad-bundle|untrusted' apply "$dom" "$x"
  # A cut signature makes no unsigned bundle out of a signed one.
  want 1 bad-bundle apply "$dom" "$x" --allow-unsigned --dry-run
done
head -c 8000000 /dev/zero >"$x"
want 1 'bad-bundle|untrusted|range' apply "$dom" "$x"

# A flipped byte: never trusted; let in unsigned it is refused or does no harm (a byte of debug
# information, say), and only a dry run.
for ((i = 0; i < $(scaled 3000); i++)); do
  at=$(((RANDOM << 15 | RANDOM) % size))
  cp "$b" "$x"
  byte=$(od -An -tu1 -j $at -N 1 "$b")
  # shellcheck disable=SC2059
  printf "\\x$(printf %x $((byte ^ (1 << RANDOM % 8))))" | dd of="$x" bs=1 seek=$at conv=notrunc status=none
  want 1 'bad-bundle|untrusted' apply "$dom" "$x"
  timeout 60 "$vp_bin" apply "$dom" "$x" --allow-unsigned --dry-run >"$work/out" 2>&1
  r=$?
  [ $r -le 1 ] || fail "byte $at flipped: exit $r: $(cat "$work/out")"
done
untouched bun 'flipped bytes'

vp_bundle_unsigned() {
  vp build "$rig_here/hotfix/banner.c" --kernel "$kernel/build" -o "$x" >"$work/out" 2>&1 || fail "build: $(cat "$work/out")"
}
vp_bundle_unsigned
want 1 untrusted apply "$dom" "$x"
want 0 ok apply "$dom" "$x" --allow-unsigned
grep -qi unsigned <<<"$said$(cat "$work/stderr")" || fail 'the output does not say that it is unsigned'
want 0 ok revert "$dom" banner
echo 'require-signature = always' >>"$VPATCH_CONFIG"
want 1 untrusted apply "$dom" "$x" --allow-unsigned
sed -i '/require-signature/d' "$VPATCH_CONFIG"

# A stranger's key; nothing trusted at all; a revoked certificate.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=stranger' -keyout "$work/k" -out "$work/c" >/dev/null 2>&1
vp sign "$x" --key "$work/k" --cert "$work/c" >/dev/null || fail 'sign'
want 1 untrusted apply "$dom" "$x"
mv "$work/etc/certs.d/cert.pem" "$work/cert.away"
want 1 untrusted apply "$dom" "$b"
mv "$work/cert.away" "$work/etc/certs.d/cert.pem"
cp "$key/cert.pem" "$work/etc/revoked.d/"
want 1 revoked apply "$dom" "$b"
rm "$work/etc/revoked.d/cert.pem"
want 0 ok apply "$dom" "$b" --dry-run

# Another kernel: the same headers under another release.
cp -r "$(readlink -f "$kernel/build")" "$work/headers"
release=$(cat "$kernel/release")
grep -rlIF -- "$release" "$work/headers/.kernelvariables" "$work/headers/include/generated/utsrelease.h" "$work/headers/include/config" 2>/dev/null |
  xargs sed -i "s/${release//./\\.}/6.1.0-1-$arch/g"
for l in scripts tools; do
  rm -f "$work/headers/$l"
  ln -s "$(readlink -f "$kernel/build/$l")" "$work/headers/$l"
done
vp build "$rig_here/hotfix/banner.c" --kernel "$work/headers" -o "$x" >"$work/out" 2>&1 || fail "build for another release: $(tail "$work/out")"
vp sign "$x" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail 'sign'
want 1 not-for-this-kernel apply "$dom" "$x"
echo "other release: $(cat "$work/stderr")"

case $arch in amd64) other=arm64 ;; *) other=amd64 ;; esac
if [ -e "$VP_KERNELS/$other/release" ]; then
  if vp build "$rig_here/hotfix/banner.c" --kernel "$VP_KERNELS/$other/build" -o "$x" >"$work/out" 2>&1; then
    vp sign "$x" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail 'sign'
    want 1 wrong-arch apply "$dom" "$x"
    echo "other architecture: $(cat "$work/stderr")"
  else
    grep -qE 'gcc|compiler' "$work/out" || fail "build for $other: $(tail "$work/out")"
  fi
fi
if vp build "$rig_here/hotfix/big.c" --kernel "$kernel/build" -o "$x" >"$work/out" 2>&1; then
  vp sign "$x" --key "$key/key.pem" --cert "$key/cert.pem" >/dev/null || fail 'sign'
  # amd64 has room for this one.
  [ "$arch" = amd64 ] && code='[01]' || code=1
  want "$code" 'arena-full|ok' apply "$dom" "$x"
  echo "half a MiB: $(jq -r .reason <<<"$said") $(cat "$work/stderr")"
  [ "$(jq -r .reason <<<"$said")" != ok ] || want 0 ok revert "$dom" big
else
  fail "big.c: $(tail "$work/out")"
fi
untouched bun 'all bundles'
