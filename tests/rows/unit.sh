#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs one unit test binary: unit.sh BINARY. A binary that could not be built fails.
[ -x "$1" ] || { echo "$1 was not built"; exit 1; }
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0} UBSAN_OPTIONS=print_stacktrace=1
exec "$1"
