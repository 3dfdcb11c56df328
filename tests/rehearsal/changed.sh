#!/usr/bin/env bash
# changed.sh COMMIT: succeeds if a file that changed since then belongs to the rehearsal, or lies under accel/ and names CUDA.
set -euo pipefail
git cat-file -e "$1^{commit}" 2>/dev/null || exit 0 # a new branch, or history that is not here: rehearse
git diff --name-only "$1" HEAD -- tests/rehearsal tests/cuda | grep -q . && exit 0
git diff --name-only --diff-filter=d "$1" HEAD -- accel | tr '\n' '\0' | xargs -0 -r grep -liE cuda | grep -q .
