from __future__ import annotations

import pickle

from ecd_data.work.recent_cache import RecentCache


def test_the_least_recently_used_values_go_first():
    cache = RecentCache(30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]


def test_a_value_counts_once_and_the_last_one_stays_whatever_its_size():
    cache = RecentCache(30)
    for size in (10, 20, 30):
        cache.put("a", size, size)
    assert cache.get("a") == 30
    assert len(cache) == 1
    cache.put("b", "large", 1000)
    assert cache.get("b") == "large"
    assert cache.get("a") is None
    cache.put("c", "small", 1)
    assert cache.get("b") is None
    assert cache.get("c") == "small"


def test_a_copy_in_another_process_starts_empty_with_the_same_limit():
    cache = RecentCache(30)
    cache.put("a", 1, 10)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.limit == 30
    assert len(copy) == 0
