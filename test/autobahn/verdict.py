"""Judges Autobahn's report: wstest itself exits 0 whatever happened.

usage: verdict.py INDEX.JSON EXPECTED_CASES
"""
import collections
import json
import sys

GOOD = {"OK", "INFORMATIONAL"}


def main(path, expected):
    with open(path) as f:
        agents = json.load(f)
    cases = {name: case for agent in agents.values() for name, case in agent.items()}
    bad = {name: case for name, case in cases.items()
           if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD}
    for what in ("behavior", "behaviorClose"):
        counts = collections.Counter(case[what] for case in cases.values())
        print("autobahn: %-13s %s" % (what, ", ".join("%d %s" % (n, k) for k, n in counts.most_common())))
    for name, case in sorted(bad.items()):
        print("autobahn: case %s: %s, close %s: %s" % (name, case["behavior"], case["behaviorClose"], case["reportfile"]))
    print("autobahn: %d of %d cases good" % (len(cases) - len(bad), expected))
    return 0 if not bad and len(cases) == expected else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
