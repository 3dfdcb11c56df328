# Tab completion of accel, accel-train, python -m accel and python -m accel.train in bash (3.2 or newer).

_accel_query() {
    local line="${COMP_LINE:0:COMP_POINT}" candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <("$@" completion query bash "$line" "$COMP_WORDBREAKS" 2>/dev/null)
}

_accel() {
    local program="${1/#\~/$HOME}"
    _accel_query "${program%-train}" # accel stands beside accel-train
}

_accel_python() {
    local module="${COMP_WORDS[2]}"
    if [[ ${COMP_WORDS[1]} == -m && $COMP_CWORD -gt 2 && ($module == accel || $module == accel.train) ]]; then
        compopt -o nospace 2>/dev/null
        _accel_query "${1/#\~/$HOME}" -m accel
        return
    fi
    local other # what completed python before
    for other in "$_accel_python_before" _comp_cmd_python _python; do
        if [[ -n $other ]] && declare -F "$other" >/dev/null; then
            "$other" "$@"
            return
        fi
    done
    COMPREPLY=()
}

if [[ $(complete -p python 2>/dev/null) != *_accel_python* ]]; then
    _accel_python_before=$(complete -p python 2>/dev/null | sed -n 's/.*-F \([^ ]*\) .*/\1/p')
fi
complete -o nospace -o default -F _accel accel accel-train
complete -o default -F _accel_python python python3
