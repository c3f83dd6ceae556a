"""How much memory there is for a graph, by the groups that a process is in."""

from mtl.graphs._memory import memory_bytes


def tree(root, lines, limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for path, limit in limits.items():
        (root / "sys/fs/cgroup" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / path).write_text(limit)
    return memory_bytes(root)


def test_the_smallest_limit_around_counts(tmp_path):
    limits = {"a/b/memory.max": "max", "a/memory.max": "4096", "memory.max": "8192"}
    assert tree(tmp_path, "0::/a/b\n", limits) == 4096


def test_version_1_counts(tmp_path):
    limits = {"memory/job/memory.limit_in_bytes": "12345\n"}
    assert tree(tmp_path, "3:cpu,cpuacct:/x\n4:memory:/job\n", limits) == 12345


def test_without_limits_it_is_the_machine(tmp_path):
    assert tree(tmp_path, "0::/\n", {}) == memory_bytes(tmp_path / "nowhere") > 2**28
