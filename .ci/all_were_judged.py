"""Exits 0 where the newest run of a store judged every gate, else 1 with those that were `not run`: `all_were_judged.py STORE`."""

import json
import pathlib
import sys

runs = pathlib.Path(sys.argv[1], "runs").glob("*.json")
record = json.loads(max(runs, key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8"))
left = [row for row in record["gates"] if row["verdict"] == "not run"]
if left or not record["gates"]:
    told = "; ".join(f"{row['gate']}: {row['reason']}" for row in left[:3])
    sys.exit(f"{len(left)} gates were not run: {told}")
