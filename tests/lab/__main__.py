"""The lab by hand: ``python tests/lab up 3``, and from another terminal ``exec h1 COMMAND``; Ctrl-C takes it down."""

import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import lab

USAGE = """python tests/lab up [N]            hosts c, h1 ... hN (3); they live until Ctrl-C
python tests/lab exec HOST CMD...  run a command on a host of the newest lab
python tests/lab start|kill|cut|heal HOST
python tests/lab down              end every lab and remove what killed ones left"""


def main(words: list[str]) -> int:
    if words[:1] == ["up"]:
        with lab.Lab() as made:
            made.start(lab.CLIENT, *(f"h{i}" for i in range(1, int(words[1] if words[1:] else 3) + 1)))
            print(f"{' '.join(made.pids)} are up; all share {made.shared} as /mnt/nfs; Ctrl-C ends them", flush=True)
            with suppress(KeyboardInterrupt):
                signal.pause()  # any other signal ends this process, and with it the lab
        return 0
    if words == ["down"]:
        for folder in lab.sweep(living=True):
            print(f"removed {folder}")
        return 0
    if len(words) < 2 or words[0] not in ("exec", "start", "kill", "cut", "heal"):
        print(USAGE, file=sys.stderr)
        return 2
    newest = max(lab.folders(), key=lambda folder: folder.stat().st_mtime, default=None)
    if newest is None:
        print("no lab is up", file=sys.stderr)
        return 2
    if words[0] == "exec":
        pid = lab._ask(newest, "list", "")[words[1]]
        command = lab.enter(pid, shlex.join(words[2:]) if words[3:] else "".join(words[2:]))
        os.execvp(command[0], command)
    lab._ask(newest, words[0], words[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
