#!/bin/sh
# rustc for the crates of this project, named by RUSTC_WORKSPACE_WRAPPER: what is fuzzed counts the edges that it runs through.
rustc=$1
shift
case " $* " in
*" --crate-name build_script"* | *" --crate-name xtask "*) ;;
*" --crate-name model "* | *" --crate-name sandbox_agent "* | *" --crate-name server "* | *" --crate-name fuzz_"*)
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    ;;
esac
exec "$rustc" "$@"
