#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# protocol/ builds freestanding with every guest architecture's compiler.
for cc in gcc aarch64-linux-gnu-gcc riscv64-linux-gnu-gcc arm-linux-gnueabihf-gcc powerpc64le-linux-gnu-gcc; do
  command -v $cc >/dev/null || { echo "$cc is missing"; exit 77; }
done
exec make --no-print-directory freestanding O="$O"
