"""The shard format: encode, store, pack, read, verify. docs/shard-format.md is its reference."""
