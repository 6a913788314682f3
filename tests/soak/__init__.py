"""Stress tests of the deployed functions: `make soak MINUTES=10`.

Each attack repeats its attempts in its own thread, on its own backend, and counts the outcomes. The first wrong outcome
stops all attacks. A seed, which is printed, determines the random choices.
"""
