#!/usr/bin/env bash
# Counts the instructions of the steps and compares them with baseline.txt; `check.sh --save` writes it anew.
# Needs valgrind, and the runner: cargo install gungraun-runner --version 0.20.0
set -euo pipefail
cd "$(dirname "$0")"

# Counts differ with the compiler and the C library; the code alone moves them by far less than this.
tolerance_percent=2
baseline=baseline.txt

# From lines such as `steps::steps::encode bytes_0:(batch(256))` and `  Instructions:  1234|..`.
counts() {
    cargo bench 2>/dev/null | sed 's/\x1b\[[0-9;]*m//g' | awk '
        /^[a-z_]+::[a-z_]+::[a-z_]+/ { split($1, path, "::"); gsub(/.*\(|\)/, "", $2); name = path[3] "/" $2 }
        /^ *Instructions:/ { split($2, count, "|"); print name, count[1] }'
}

found="$(counts)"
[ -n "$found" ] || { echo "check.sh: nothing was counted; run \`cargo bench\` here to see why" >&2; exit 1; }
if [ "${1:-}" = --save ]; then
    { echo "# $(rustc --version); instructions per call, by check.sh --save"; echo "$found"; } > "$baseline"
    cat "$baseline"
    exit
fi
awk -v tolerance="$tolerance_percent" '
    /^#/ { next }
    FNR == NR { before[$1] = $2; next }
    {
        if (!($1 in before)) { print $1, "is not in the baseline"; bad = 1; next }
        change = ($2 - before[$1]) * 100 / before[$1]
        verdict = change > tolerance ? "MORE" : change < -tolerance ? "less" : "as before"
        printf "%-20s %12d -> %12d  %+6.2f %%  %s\n", $1, before[$1], $2, change, verdict
        bad = bad || change > tolerance
        delete before[$1]
    }
    END { for (name in before) { print name, "was not counted"; bad = 1 }; exit bad }
' "$baseline" <(echo "$found")
