#!/usr/bin/env bash
# venv.sh VENV CONSTRAINTS...: the environment of the tests beside other packages of the field.
set -euo pipefail
venv=$1
shift
mark=$venv/.ecosystem # in an environment of this script's: the digest of what it was made from, once it is whole
if test -e "$venv" && ! test -e "$mark"; then # somebody else's, which is left as it is
  if ! "$venv/bin/python" -c 'import pytest, torch' 2>/dev/null; then
    echo "ecosystem: $venv has no Python with torch and pytest; name another directory (ECOSYSTEM_VENV), or remove it" >&2
    exit 2
  fi
  missing=$("$venv/bin/python" -m tests.ecosystem.packages)
  test -z "$missing" || echo "ecosystem: $venv lacks $missing; their tests are skipped"
  exit 0
fi
digest=$(cat "$@" pyproject.toml | sha256sum)
if test -e "$mark" && test "$(<"$mark")" = "$digest"; then exit 0; fi
if ! test -e "$mark"; then
  "${PYTHON:-python3}" -m venv "$venv"
  : >"$mark"
fi
constraints=()
for file in "$@"; do constraints+=(-c "$file"); done
install() { "$venv/bin/python" -m pip install -q --disable-pip-version-check "${constraints[@]}" "$@"; }
install torch # first, and pinned: left to another package, pip takes the newest, with several GB of CUDA libraries
install -e '.[demo,images,dev,ecosystem]'
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
trouble=$("$venv/bin/python" -c 'import torchvision' 2>&1 || true)
if [[ $trouble == *'torchvision::nms does not exist'* ]]; then # built for CUDA, and torch was not
  cp tests/ecosystem/torchvision_operators.py "$packages"
  echo 'import torchvision_operators' >"$packages/torchvision_operators.pth"
fi
"$venv/bin/python" -c 'import torchvision, lightning, transformers'
echo "$digest" >"$mark"
