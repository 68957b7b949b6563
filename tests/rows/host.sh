#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The host's architecture: vmm-agent/host built for the other ones and run under qemu-user, and the
# driver that uses it built at least: host.sh arm64|riscv64
set -u
case ${1-} in
  arm64) cc=aarch64-linux-gnu-gcc qemu=qemu-aarch64 ;;
  riscv64) cc=riscv64-linux-gnu-gcc qemu=qemu-riscv64 ;;
  *) echo 'host.sh arm64|riscv64'; exit 2 ;;
esac
for tool in $cc $qemu; do
  command -v $tool >/dev/null || { echo "$tool is missing"; exit 77; }
done
printf '#include <stdio.h>\nint main(void) { return 0; }\n' |
  $cc -static -x c -o /dev/null - 2>/dev/null || { echo "$cc has no C library (libc6-dev-$1-cross)"; exit 77; }
d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
flags='-std=gnu11 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -I.'
# shellcheck disable=SC2086
$cc $flags -static -o "$d/test_host" tests/unit/test_host.c vmm-agent/host/*.c arch/*.c arch/*/*.c \
  protocol/*.c -lpthread || exit 1
for f in vmm-agent/drv/inproc*.c; do
  [ -e "$f" ] || continue
  # shellcheck disable=SC2086
  $cc $flags -c -o "$d/x.o" "$f" || exit 1
done
exec timeout 60 $qemu "$d/test_host"
