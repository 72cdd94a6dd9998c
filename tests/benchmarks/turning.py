"""A child of benchmarks/_in_turn.py: updates that take as long as its name says, in hundredths of a second."""

import sys
import time

from benchmarks._in_turn import WARM_UP, Turns

if __name__ == "__main__":
    hundredths = int(sys.argv[1])
    if hundredths == 0:
        raise SystemExit("no time at all")
    turns = Turns()
    for _ in range(WARM_UP + 3):
        print("something else")
        turns.wait()
        time.sleep(hundredths / 100)
        turns.done()
