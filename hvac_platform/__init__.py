"""Data platform that watches HVAC equipment, learns what normal looks like, and says what is wrong."""

from hvac_platform.moved import install

install()
