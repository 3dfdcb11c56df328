#!/usr/bin/env bash
# changed.sh COMMIT: exits with 0 if a file that changed since then is part of the rehearsal, or lies under accel/ and names CUDA, or did
# so then; with 1 if there is none.
set -euo pipefail
git cat-file -e "$1^{commit}" 2>/dev/null || exit 0 # a new branch, or history that is not here: rehearse
own=$(git diff --name-only "$1" HEAD -- tests/rehearsal tests/cuda 'tests/support/cuda_*' .github/workflows/rehearsal.yml)
test -z "$own" || exit 0
mapfile -d '' -t changed < <(git diff -z --no-renames --name-only "$1" HEAD -- accel)
test ${#changed[@]} -gt 0 || exit 1
git --literal-pathspecs grep -qi cuda "$1" HEAD -- "${changed[@]}"
