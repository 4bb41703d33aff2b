#!/bin/sh
# Sets up wstest of the Autobahn test suite, which is Python 2 code, in a folder
# of its own, once. Prints the path of wstest.
#
# usage: setup.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
wstest=$folder/py27/bin/wstest

find_python27() {
	if command -v pyenv >/dev/null 2>&1; then
		for p in "$(pyenv root)"/versions/2.7*/bin/python2.7; do
			[ -x "$p" ] && { echo "$p"; return; }
		done
	fi
	command -v python2.7 || {
		echo "autobahn: needs a Python 2.7: pyenv install 2.7.18, or python2.7 on the PATH" >&2
		exit 2
	}
}

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9 # one set-up at a time
if [ ! -e "$folder/ready" ]; then
	python27=$(find_python27)
	rm -rf "$folder"
	mkdir -p "$folder"
	{
		python3 -m venv "$folder/bootstrap"
		"$folder/bootstrap/bin/pip" install virtualenv==20.21.1
		"$folder/bootstrap/bin/virtualenv" -p "$python27" "$folder/py27"
		"$folder/py27/bin/pip" install -r "$here/requirements.txt"
		"$folder/py27/bin/pip" install --no-deps autobahntestsuite==25.10.1
		"$wstest" --autobahnversion
	} >"$folder/setup.log" 2>&1 || {
		echo "autobahn: the set-up failed; the end of $folder/setup.log:" >&2
		tail -20 "$folder/setup.log" >&2
		exit 2
	}
	touch "$folder/ready"
fi
echo "$wstest"
