# Tab completion of accel, accel-train, python -m accel and python -m accel.train in fish.

function __accel_candidates
    set -l words (commandline -opc)
    set -l program (string replace -r -- '-train$' '' $words[1])
    set -l start
    if string match -qr -- 'python[0-9.]*$' $words[1]
        set start -m accel
    end
    $program $start completion query fish (commandline -cp) 2>/dev/null | string replace -r -- ' \t' \t
end

function __accel_is_module
    set -l words (commandline -opc)
    test (count $words) -ge 3; and test "$words[2]" = -m; and contains -- "$words[3]" accel accel.train
end

complete -c accel -f -a '(__accel_candidates)'
complete -c accel-train -f -a '(__accel_candidates)'
complete -c python -n __accel_is_module -f -a '(__accel_candidates)'
complete -c python3 -n __accel_is_module -f -a '(__accel_candidates)'
