#compdef accel accel-train
# Tab completion of accel, accel-train, python -m accel and python -m accel.train in zsh.

_accel_query() {
    local word about
    local -a finished finished_lines unfinished unfinished_lines
    while IFS=$'\t' read -r word about; do
        if [[ $word == *' ' ]]; then
            word=${word% }
            finished+=("$word")
            finished_lines+=("$word${about:+  -- $about}")
        else
            unfinished+=("$word")
            unfinished_lines+=("$word${about:+  -- $about}")
        fi
    done < <("$@" completion query zsh "${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" 2>/dev/null)
    if (( $#finished + $#unfinished == 0 )); then
        _files
        return
    fi
    (( $#finished )) && compadd -U -l -d finished_lines -a finished
    (( $#unfinished )) && compadd -U -l -S '' -d unfinished_lines -a unfinished
    return 0
}

_accel() {
    _accel_query "${~words[1]%-train}" # accel stands beside accel-train
}

_accel_python() {
    if [[ $words[2] == -m && $words[3] == accel(|.train) && $CURRENT -gt 3 ]]; then
        _accel_query "${~words[1]}" -m accel
    else
        _python "$@"
    fi
}

compdef _accel accel accel-train
compdef _accel_python python python3
