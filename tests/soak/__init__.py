"""Long attacks on the deployed functions: `make soak MINUTES=10`.

Each attack tries again and again, in a thread and on a backend of its own, and says what came of it. The first wrong
end stops all of them. What is tried comes from a seed, which is printed.
"""
