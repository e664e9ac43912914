"""Time a command as a whole process: wall seconds, CPU seconds and peak memory, as the README's numbers were taken.

python bench/whole_process.py make demo
python bench/whole_process.py .venv/bin/iikata --help
"""

import resource
import subprocess
import sys
import time


def main(command: list[str]) -> int:
    start = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    wall = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    print(
        f"{' '.join(command)}: exit {code}, wall {wall:.2f} s, CPU {used.ru_utime + used.ru_stime:.1f} s, "
        f"peak {kilobytes / 1e6:.2f} GB (largest single process)",
        file=sys.stderr,
    )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
