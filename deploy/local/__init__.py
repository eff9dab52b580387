"""The local stack: a real Apache Kafka and a real ClickHouse engine on a bare machine, for demos and tests."""
