"""Mail by SMTP, in plain text and HTML; a message that is sent again has the same Message-ID."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from hashlib import sha256

from hvac_platform.alerts.messages import Message
from hvac_platform.alerts.receivers.answers import Answer, DeliveryError
from hvac_platform.alerts.tree import Email

SECONDS = 15.0
LONGEST_SUBJECT = 200


class EmailSender:
    """Mail to some addresses through one server; the connection is kept between messages."""

    def __init__(self, settings: Email) -> None:
        self._settings = settings
        self._server: smtplib.SMTP | None = None

    def send(self, message: Message) -> Answer:
        """One mail to all addresses.

        Raises:
            DeliveryError: the server did not take it, or refuses an address.
        """
        mail = self._mail(message)
        try:
            server = self._connected()
            refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            self._reset()
            raise DeliveryError(f"every address was refused: {_said(error.recipients)}", everything=False) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            self.close()
            said = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            busy = 400 <= error.smtp_code < 500
            raise DeliveryError(f"refused: {error.smtp_code} {said}", everything=busy) from None
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise DeliveryError(f"{type(error).__name__}: {error}", everything=True) from None
        if refused:  # the others have it: sent again it would be there twice
            return Answer(reference=f"refused: {_said(refused)}")
        return Answer()

    def close(self) -> None:
        """End the connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _reset(self) -> None:
        try:
            if self._server is not None:
                self._server.rset()
        except (OSError, smtplib.SMTPException):
            self.close()

    def _connected(self) -> smtplib.SMTP:
        if self._server is not None:
            try:
                if self._server.noop()[0] == 250:
                    return self._server
            except (OSError, smtplib.SMTPException):
                pass
            self.close()
        settings = self._settings
        context = ssl.create_default_context()
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(settings.server, settings.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(settings.server, settings.port, timeout=SECONDS)
        try:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.username:
                server.login(settings.username, settings.password.get_secret_value())
        except Exception:
            server.close()
            raise
        self._server = server
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = " ".join(message.title.split())[:LONGEST_SUBJECT]
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.to)
        mail["Date"] = formatdate(message.made_at / 1000)
        digest = sha256(message.key.encode()).hexdigest()[:40]
        mail["Message-ID"] = f"<{digest}@hvac-platform>"
        thread = sha256(message.contents[0].incident_id.encode()).hexdigest()[:40]
        mail["References"] = f"<{thread}@hvac-platform>"  # mail programs show one incident as one thread
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text())
        mail.add_alternative(f"<!doctype html><html><body>{message.html()}</body></html>", subtype="html")
        return mail


def _said(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{address}: {code} {said.decode(errors='replace')}" for address, (code, said) in refused.items())
