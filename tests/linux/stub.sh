#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds the stub module for Debian's kernel: stub.sh ARCH [SUITE], as fetch.sh. Prints its path.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
arch=${1:?usage: stub.sh ARCH [SUITE]}
suite=${2:-bookworm}
case ${O:=$root/build} in /*) ;; *) O=$root/$O ;; esac
export O
lack() { echo "stub: $* is missing" >&2; exit 77; }

kernel=$("$here/fetch.sh" "$arch" "$suite") || exit
out=$O/tests/linux/stub/${kernel##*/}
module=$out/vpatch_stub.ko
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
if [ -e "$module" ] && [ -z "$(find "$root/guest-stub/linux" "$root/protocol" "$here/stub.sh" "$kernel/release" -newer "$module" -print -quit)" ]; then
  echo "$module"
  exit 0
fi
case $arch in
  amd64) triple=x86_64-linux-gnu ;;
  arm64) triple=aarch64-linux-gnu ;;
  riscv64) triple=riscv64-linux-gnu ;;
  *) echo "stub: $arch: unknown" >&2; exit 1 ;;
esac
# The kernel's own compiler; for kernels up to gcc-14's an older one where there is only that, without
# what it does not know. No type information either, which needs the kernel's whole image.
config=(CONFIG_DEBUG_INFO_BTF_MODULES=)
cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="[^ ]*\(gcc-[0-9]*\) .*/\1/p' "$kernel/config")
cc=$triple-${cc:-gcc}
if ! command -v "$cc" >/dev/null; then
  [ "${cc##*gcc-}" -le 14 ] 2>/dev/null || lack "$cc"
  for cc in $triple-gcc-12 $triple-gcc; do
    if command -v "$cc" >/dev/null; then break; fi
  done
  command -v "$cc" >/dev/null || lack "$cc"
  config+=(CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=)
fi
make -j"$(nproc)" -C "$root" stub O="$O" STUB="$out" KDIR="$kernel/build" CC="$cc" DEB_BUILD_ARCH="$(dpkg --print-architecture)" \
  DEB_HOST_ARCH="$arch" DEB_HOST_GNU_TYPE=$triple "${config[@]}" >"$out/log" 2>&1 || {
  tail -n 20 "$out/log" >&2
  exit 1
}
! grep -A 5 'warning:' "$out/log" >&2 || exit 1
$triple-strip -g -o "$module" "$out/guest-stub/linux/vpatch_stub.ko"
echo "$module"
