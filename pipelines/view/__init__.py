"""The viewer: shards in the browser."""
