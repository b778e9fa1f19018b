"""Real servers on loopback for tests and for people without containers: Kafka, Cassandra, Ollama.

``python -m devtools.services up`` fetches what is missing, starts them and waits until they answer.
"""
