"""`iikata check`: the template doctor's findings, without loading the model."""

import argparse
from collections import Counter

from iikata.cli.terminal import dumped
from iikata.core.records import Finding, plain


def check(given: argparse.Namespace) -> int:
    """Print what was read and the findings; exit 1 where one is an error."""
    from iikata.cli.stages import open_pipeline
    from iikata.pipeline.stages.check import examine, shown, summary

    context = open_pipeline(given).context
    findings = examine(context)
    if given.json:
        print(dumped([plain(finding) for finding in findings], indent=1))
    else:
        print(f"{summary(context)}\n")
        print("".join(f"{shown(finding)}\n\n" for finding in findings) + _sum(findings))
    return int(any(finding.severity == "error" for finding in findings))


def _sum(findings: list[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    words = {"error": "error", "warning": "warning", "info": "note"}
    return ", ".join(f"{n} {word}{'s' * (n > 1)}" for key, word in words.items() if (n := counts[key])) or "no findings"
