"""What the integration tests stand on: a real PostgreSQL, real Rattail environments, real repositories."""
