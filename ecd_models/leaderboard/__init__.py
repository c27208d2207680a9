"""The leaderboard: entries as YAML files with results, which anybody can add without code."""
