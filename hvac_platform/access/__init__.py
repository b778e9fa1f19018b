"""Who may see and do what on the dashboard's server: users with tokens, roles, and buildings."""
