"""What autokd claims of its speed, measured: each file is one script, and `python -m benchmarks` runs the short form of all."""
