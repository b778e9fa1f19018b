-- From version 11 to 12 of store.sql: users may have a password.

ALTER TABLE users ADD COLUMN password_argon2 TEXT;
