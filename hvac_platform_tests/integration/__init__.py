"""Tests against real servers; ``make integration`` runs them."""
