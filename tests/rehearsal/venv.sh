#!/usr/bin/env bash
# venv.sh VENV TORCH CONSTRAINTS: the environment of the rehearsal. Where the CUDA build cannot be had it says so, and leaves none.
set -euo pipefail
venv=$1 torch=$2 constraints=$3
is_cuda='import sys, torch; sys.exit(torch.__version__.partition("+")[0] != sys.argv[1] or not torch.version.cuda)'
skip() {
  echo "rehearsal skipped: $1"
  exit 0
}
if test -x "$venv/bin/python" && "$venv/bin/python" -c "$is_cuda" "$torch" 2>/dev/null; then exit 0; fi
test "$(uname -sm)" = "Linux x86_64" || skip "it takes the CUDA build of torch $torch for Linux on x86-64, and this is $(uname -sm)"
command -v g++ nm >/dev/null || skip "the stand-ins are built with g++ and nm, and not both are installed"
made=
if ! test -x "$venv/bin/python"; then
  "${PYTHON:-python3}" -m venv "$venv"
  made=yes
fi
# an environment of somebody else's is left as it is
remove() { test -z "$made" || rm -rf "$venv"; }
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# what the CUDA build of torch needs itself is its own business
sed -E "s/^torch==.*/torch==$torch/; /^(filelock|setuptools|sympy|networkx|mpmath)==/d" "$constraints" >"$pinned"
install() { env -u PIP_EXTRA_INDEX_URL "$venv/bin/python" -m pip install -q --disable-pip-version-check -c "$pinned" "$@"; }
install torch || { remove; skip "torch $torch cannot be had from the package index"; }
"$venv/bin/python" -c "$is_cuda" "$torch" || { remove; skip "the package index has torch $torch without CUDA alone"; }
install -e '.[demo,images,dev]'
