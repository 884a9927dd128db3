"""The paper's table on our data: `score` measures finished runs, `page` writes benchmarks/RESULTS.md from that."""
