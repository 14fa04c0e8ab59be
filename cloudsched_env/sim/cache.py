"""Buffer cache per node and shard with random replacement (`docs/simulator.md`, steps 3, 6 and 9).

Bytes of shard m that are valid on node n are ``valid_mb[m, n] * valid_scale[n] * shard_validity[m]``. Evicting at
random scales a whole node, a write elsewhere scales a whole shard: both touch one number, so the cost of a step
is proportional to the running tasks and not to nodes x shards.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["drop_cache", "fit_cache", "insert", "invalidate_elsewhere", "valid_bytes_mb"]

_RENORMALISE_BELOW = 1e-60
_EXPLICIT_BELOW = 1e-6


@compiled
def valid_bytes_mb(compute, b, n, m):
    """Valid bytes of shard ``m`` in the cache of node ``n``, in MB."""
    return compute.valid_mb[b, m, n] * compute.valid_scale[b, n] * compute.shard_validity[b, m]


@compiled
def fit_cache(parameters, compute, b, n):
    """Evict at random until what node ``n`` occupies fits its cache."""
    size_mb = 1000.0 * compute.cache_fraction[b, n] * parameters.memory_gb[n]
    occupied = compute.occupied_mb[b, n]
    if occupied <= size_mb:
        return
    compute.valid_scale[b, n] *= size_mb / occupied
    compute.occupied_mb[b, n] = size_mb
    scale = compute.valid_scale[b, n]
    if scale < _RENORMALISE_BELOW:
        for m in range(compute.valid_mb.shape[1]):
            compute.valid_mb[b, m, n] *= scale
        compute.valid_scale[b, n] = 1.0


@compiled
def insert(compute, b, n, m, hot_set_mb, bytes_mb):
    """Put missed bytes of shard ``m`` into the cache of node ``n``, at most up to the whole hot set."""
    factor = compute.valid_scale[b, n] * compute.shard_validity[b, m]
    entered = min(bytes_mb, max(0.0, hot_set_mb - compute.valid_mb[b, m, n] * factor))
    compute.valid_mb[b, m, n] += entered / factor
    compute.occupied_mb[b, n] += entered


@compiled
def invalidate_elsewhere(compute, b, writer, m, written_share):
    """Invalidate what ``writer`` wrote of shard ``m`` in all other caches; the frames stay occupied until replaced."""
    factor = max(0.0, 1.0 - written_share)
    if factor < _EXPLICIT_BELOW:  # too small to divide the writer's own share by
        for n in range(compute.valid_mb.shape[2]):
            if n != writer:
                compute.valid_mb[b, m, n] *= factor
        return
    compute.shard_validity[b, m] *= factor
    compute.valid_mb[b, m, writer] /= factor
    validity = compute.shard_validity[b, m]
    if validity < _RENORMALISE_BELOW:
        for n in range(compute.valid_mb.shape[2]):
            compute.valid_mb[b, m, n] *= validity
        compute.shard_validity[b, m] = 1.0


@compiled
def drop_cache(compute, b, n):
    """Forget everything that node ``n`` has cached."""
    for m in range(compute.valid_mb.shape[1]):
        compute.valid_mb[b, m, n] = 0.0
    compute.valid_scale[b, n] = 1.0
    compute.occupied_mb[b, n] = 0.0
