#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds the test guest's initramfs: initramfs.sh ARCH KERNEL_DIR. Prints its path.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
arch=${1:?usage: initramfs.sh ARCH KERNEL_DIR}
kernel=${2:?usage: initramfs.sh ARCH KERNEL_DIR}
out=${O:-$root/build}/tests/linux/${kernel##*/}
lack() { echo "initramfs: $* is missing" >&2; exit 77; }

case $arch in
  amd64) triple=x86_64-linux-gnu ;;
  arm64) triple=aarch64-linux-gnu ;;
  riscv64) triple=riscv64-linux-gnu ;;
  ppc64el) triple=powerpc64le-linux-gnu ;;
  *) echo "initramfs: $arch: unknown" >&2; exit 1 ;;
esac
cc=$triple-gcc
command -v $cc >/dev/null || lack "$cc"
command -v cpio >/dev/null || lack cpio
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
image=$out/initramfs.gz
if [ -e "$image" ] && [ -z "$(find "$here/guest" "$here/initramfs.sh" "$kernel/release" -newer "$image" -print -quit)" ]; then
  echo "$image"
  exit 0
fi
tree=$out/tree
rm -rf "$tree"
mkdir -p "$tree"/{bin,dev,proc,sys,run,tmp,root}
cp "$kernel/busybox.static" "$tree/bin/busybox"
ln -s busybox "$tree/bin/sh"
install -m 755 "$here/guest/init" "$tree/init"
install -m 755 "$here/guest/trace" "$tree/bin/trace"
for p in agent load forge; do
  $cc -static -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -o "$tree/bin/$p" "$here/guest/$p.c" ||
    { [ -e /usr/$triple/lib/libc.a ] || [ -e /usr/lib/$triple/libc.a ] || lack "a static libc for $arch"; exit 1; }
done
(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 >"$image.new")
mv "$image.new" "$image"
echo "$image"
