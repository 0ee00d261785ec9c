"""The sections of the benchmark, one file each. A section's `measure(bench)` gives {figure: {proxy: [a value a round]}}."""
