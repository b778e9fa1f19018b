"""What a message log is, and the two there are: embedded and Kafka."""
