"""Runs all attacks for some minutes, and prints counts. Exits with 1 after the first wrong outcome."""

import argparse
import random
import sys
import threading
import time
import traceback

from tests.support import World

from .attack import Attack
from .garbled import GarbledAnswers, GarbledEvents
from .kills import Kills
from .table_faults import TableFaults
from .users import Users

ATTACKS: list[type[Attack]] = [Kills, TableFaults, GarbledEvents, GarbledAnswers, Users]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="run time in minutes (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="seed that an earlier run printed (default: random)")
    parser.add_argument("--only", choices=[attack.name for attack in ATTACKS], help="run this attack only")
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    chosen = [attack for attack in ATTACKS if options.only in (None, attack.name)]
    print(f"seed {seed}, {options.minutes:g} minutes: {', '.join(attack.name for attack in chosen)}", flush=True)
    world = World()
    until = time.monotonic() + options.minutes * 60
    wrong, over = [], threading.Event()

    def run(attack: Attack):
        while time.monotonic() < until and not over.is_set():
            try:
                attack.once()
            except BaseException:
                wrong.append(traceback.format_exc())
                over.set()

    try:
        attacks = [kind(world, random.Random(f"{seed} {kind.name}")) for kind in chosen]
        threads = [threading.Thread(target=run, args=(attack,), daemon=True) for attack in attacks]
        for thread in threads:
            thread.start()
        for thread in threads:
            # The other attacks finish their current attempt. An attack that hangs is a wrong outcome too.
            thread.join(max(0.0, until - time.monotonic()) + 180)
            if thread.is_alive() and not over.is_set():
                wrong.append("an attack does not come to its end")
                over.set()
        for attack in attacks:
            counted = ", ".join(f"{count} {what}" for what, count in sorted(attack.counts.items()))
            print(f"{attack.name}: {counted}", flush=True)
    finally:
        world.stop()
    for told in wrong:
        print(told, file=sys.stderr, flush=True)
    print("a wrong end" if wrong else "no wrong end")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
