"""Write how many characters the held-out rows' answers have, by the rows' ids: what strata need, and no text.

python study/rows.py gemma        study/gemma/rows.json, from study/inputs
"""

import json
import sys

import declare

from iikata.data.examples import content_id

if __name__ == "__main__":
    for model in sys.argv[1:]:
        path = declare.HERE / "inputs" / declare.STUDIES[model].language / "held-out.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        made = {content_id(row["instruction"], row["input"], row["output"]): len(row["output"]) for row in rows}
        (declare.HERE / model / "rows.json").write_text(json.dumps(made, indent=0) + "\n", encoding="utf-8")
        long = sum(length >= declare.LONG for length in made.values())
        print(f"{model}: {len(made)} rows, {long} of {declare.LONG} characters or more")
