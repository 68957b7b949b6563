#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The full counts that the project promises: hours, not minutes.
export SCALE=${SCALE:-100} FUZZ_SECONDS=${FUZZ_SECONDS:-600}
exec "$(dirname "$0")/check-long.sh" "$@"
