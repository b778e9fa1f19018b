"""Alerts: who hears of an incident, when and how; a durable outbox, and what takes it to mail, phones and webhooks."""
