"""CityJoin on other stream engines and on ours: one broker, one backlog, one answer; `python -m benchmarks.peers`."""
