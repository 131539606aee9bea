#!/usr/bin/env bash
# Switches on the bugs in the code (`mutant("name")`) one after the other and says which test finds each:
# first the tests on the simulated disk that crash or break it, then all others.
#
#   wal/mutants.sh [name ..]            all bugs but those below the simulated disk (`posix_`), or those named
#   wal/mutants.sh --list               the names of all bugs, one per line, and builds nothing
#
#   PROGRAMS="storage/raft_rs_pump .." wal/mutants.sh name ..   and no other test programs
#
# Builds once, into target/mutants. SECONDS_MAX (default 100) limits one test program: a hang is a find. RUNNER is a
# command that every test program is started with.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

planted() {
    grep -rhoE 'mutant\("[a-z_0-9]+"\)' wal/src storage/src snap/src --include=*.rs | cut -d '"' -f 2 | grep -v '^name$' | sort -u
}
[ "${1:-}" = --list ] && { planted; exit; }

simulation="wal/model storage/model wal/kill_points wal/live_reads wal/faults wal/attack_disk wal/attack_pipeline
    wal/promises wal/corruption wal/modes wal/incarnations storage/rot storage/degraded storage/rewrite storage/small_state storage/pinned storage/compression wal/wordings wal/crash_states wal/reach
    snap/crash snap/damage snap/transfer snap/catalog
    storage/snapshots storage/snapshots_crash storage/raft_rs_snapshots
    storage/raft_rs_cluster storage/raft_rs_pump storage/raft_rs_fetch"
targets=(-p seawall-wal -p seawall -p seawall-snap)
if [ -n "${PROGRAMS:-}" ]; then
    simulation="$PROGRAMS" targets=()
    for program in $PROGRAMS; do
        case "${program%%/*}" in storage) targets+=(-p seawall) ;; *) targets+=(-p "seawall-${program%%/*}") ;; esac
        case "${program#*/}" in
            lib) [[ " ${targets[*]} " == *" --lib "* ]] || targets+=(--lib) ;;
            *) targets+=(--test "${program#*/}") ;;
        esac
    done
fi
limit="${SECONDS_MAX:-100}"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg seawall_mutants" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/mutants"

# Test programs as `package/name<tab>path`; `package/lib` are the unit tests.
programs="$(
    cargo test "${targets[@]}" --no-run --message-format=json 2>/dev/null |
        grep '"reason":"compiler-artifact"' | grep '"test":true' |
        sed -nE 's#.*"manifest_path":"[^"]*/([a-z]+)/Cargo.toml".*"kind":\["([a-z]+)"\].*"name":"([^"]+)".*"executable":"([^"]+)".*#\1 \2 \3 \4#p' |
        awk '{ print $1 "/" ($2 == "lib" ? "lib" : $3) "\t" $4 }' | sort -u
)"
[ -n "$programs" ] || { echo "nothing was built" >&2; exit 2; }

path_of() { awk -F '\t' -v name="$1" '$1 == name { print $2 }' <<<"$programs"; }

# Whether `program` finds the bug $SEAWALL_MUTANT; says which test did.
finds() {
    local out status
    # shellcheck disable=SC2086
    out="$(cd "${1%%/*}" && ${RUNNER:-} timeout "$limit" "$(path_of "$1")" --test-threads 1 2>&1)"
    status=$?
    [ $status = 0 ] && return 1
    [ $status = 124 ] && { echo "$1 (hangs)"; return 0; }
    echo "$1::$(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p; s/^---- (.*) stdout ----$/\1/p' <<<"$out" | head -1)"
}

others="$(cut -f 1 <<<"$programs" | grep -vxF "$(tr -s ' ' '\n' <<<"$simulation")")"
names="$*"
[ -n "$names" ] || names="$(planted | grep -v '^posix_')"

# A test that fails without a bug would find them all.
export SEAWALL_MUTANT=""
for program in $simulation; do
    if by="$(finds "$program")"; then echo "fails without a bug: $by" >&2; exit 2; fi
done

survivors=0 found=0 by_simulation=0
printf '%-42s %s\n' bug "found by"
for name in $names; do
    export SEAWALL_MUTANT="$name"
    by="" stage=simulation
    for program in $simulation; do by="$(finds "$program")" && break; done
    if [ -z "$by" ]; then
        stage=other
        for program in $others; do by="$(finds "$program")" && break; done
    fi
    if [ -z "$by" ]; then
        survivors=$((survivors + 1)); by="SURVIVED" stage=""
    else
        found=$((found + 1)); [ $stage = simulation ] && by_simulation=$((by_simulation + 1))
    fi
    printf '%-42s %-10s %s\n' "$name" "$stage" "$by"
done
echo "$found found, $by_simulation of them by simulation; $survivors survived"
[ "$survivors" = 0 ]
