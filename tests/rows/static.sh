#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Static analysis: static.sh cppcheck|clang-tidy
tool=$1
command -v "$tool" >/dev/null || { echo "$tool is missing"; exit 77; }
exec make --no-print-directory "${tool#clang-}" O="$O"
