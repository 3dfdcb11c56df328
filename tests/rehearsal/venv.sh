#!/usr/bin/env bash
# venv.sh VENV TORCH CONSTRAINTS: the environment of the rehearsal. Exits with 77 where there can be none here, after a sentence that says
# why. Everything else that fails is an error.
set -euo pipefail
venv=$1 torch=$2 constraints=$3
mark=$venv/.rehearsal # in an environment of this script's: the digest of what it was made from, once it is whole
is_cuda='import sys, torch; sys.exit(torch.__version__.partition("+")[0] != sys.argv[1] or not torch.version.cuda)'
skip() {
  echo "rehearsal skipped: $1"
  exit 77
}
test "$(uname -sm)" = "Linux x86_64" || skip "it takes the CUDA build of torch $torch for Linux on x86-64, and this is $(uname -sm)"
command -v g++ >/dev/null && command -v nm >/dev/null || skip "the stand-ins are built with g++ and nm; install g++ and binutils"
has_torch() { "$venv/bin/python" -c "$is_cuda" "$torch" 2>/dev/null; }
if test -e "$venv" && ! test -e "$mark"; then # somebody else's, which is left as it is
  has_torch && exit 0
  echo "rehearsal: $venv has no CUDA build of torch $torch; name another directory (CUDA_VENV), or remove it" >&2
  exit 2
fi
digest=$(cat "$constraints" pyproject.toml | sha256sum)
if test -e "$mark" && test "$(<"$mark")" = "$digest" && has_torch; then exit 0; fi
if ! test -e "$mark"; then
  "${PYTHON:-python3}" -m venv "$venv"
  : >"$mark"
fi
install() { env -u PIP_EXTRA_INDEX_URL "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
if ! has_torch; then
  if ! printed=$(install "torch==$torch" 2>&1); then
    # the second is what pip says where there is none and a constraint of the user's, of whatever version
    lacks=$(grep -oE '(No matching distribution found for|Cannot install torch).*' <<<"$printed") || { echo "$printed" >&2; exit 1; }
    rm -rf "$venv"
    skip "the package index has no torch $torch for this Python (pip: ${lacks%%$'\n'*})"
  fi
  has_torch || { rm -rf "$venv"; skip "the package index has torch $torch without CUDA alone"; }
fi
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# what the CUDA build of torch needs itself is its own business
sed -E "s/^torch==.*/torch==$torch/; /^(filelock|setuptools|sympy|networkx|mpmath)==/d" "$constraints" >"$pinned"
install -c "$pinned" -e '.[demo,images,dev]'
echo "$digest" >"$mark"
