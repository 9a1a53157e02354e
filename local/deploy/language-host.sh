#!/bin/sh
# make up creates this script. It runs the compiled program, and compiles it again after a source has changed.
program=$PWD/../.build/program
fresh() {
	[ -x "$program" ] && [ -e "$program.began" ] && [ -z "$(find . -newer "$program.began" -print -quit)" ]
}
compile() {
	mkdir -p ../.build && touch "$program.begins" && GOWORK=off go build -o "$program" . && mv "$program.begins" "$program.began"
}
if fresh || compile >/dev/null 2>&1; then
	exec 'HOST' -binary="$program" "$@"
fi
exec 'HOST' "$@"
