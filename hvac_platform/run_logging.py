"""What a run prints: what a person wants to know, not Dagster's account of every event (that is in the UI)."""

import logging

import dagster as dg


@dg.logger(
    {"log_level": dg.Field(str, default_value="INFO", is_required=False, description="Lowest level that is printed")},
    description="One line an entry on standard error, from INFO on.",
)
def console(context: dg.InitLoggerContext) -> logging.Logger:
    """The console logger of every run."""
    logger = logging.getLogger("hvac_platform.run")
    logger.setLevel(context.logger_config["log_level"])
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    return logger
