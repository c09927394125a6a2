"""A real SMTP server (aiosmtpd) on three ports of this machine: in clear, with STARTTLS demanded, and under TLS from the beginning;
the last two ask for a log-in. Prints where it listens and then each mail that it took, as Python's own parser of mail reads it.
Ends with its standard input. Arguments: the files of its certificate and its key."""

import asyncio
import json
import ssl
import sys
import warnings
from email import policy
from email.parser import BytesParser

from aiosmtpd.smtp import SMTP, AuthResult

# It warns that log-in is not demanded in clear, which is meant.
warnings.simplefilter("ignore")


def say(what):
    print(json.dumps(what), flush=True)


class Mailbox:
    def __init__(self):
        self.put_off = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return f"550 5.1.1 <{address}> is unknown here"
        if address.startswith("busy") and address not in self.put_off:
            self.put_off.add(address)
            return f"450 4.2.1 <{address}> is busy; come again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        message = BytesParser(policy=policy.default).parsebytes(envelope.content)
        if "large" in envelope.rcpt_tos[0]:
            return "552 5.3.4 too large"
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None,
            "login": session.auth_data.decode() if session.authenticated else None,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
            "defects": [str(defect) for defect in message.defects],
        })
        return "250 2.0.0 taken"


def authenticator(server, session, envelope, mechanism, data):
    good = mechanism in ("PLAIN", "LOGIN") and data.login == b"tenure" and data.password == "päss:w/ord@#".encode()
    return AuthResult(success=good, handled=False, auth_data=data.login)


async def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop, mailbox, ports = asyncio.get_running_loop(), Mailbox(), {}
    asks = {"authenticator": authenticator, "auth_required": True}
    for name, under, options in [
        ("plain", None, {}),
        ("starttls", None, {"tls_context": context, "require_starttls": True, **asks}),
        ("tls", context, {"auth_require_tls": False, **asks}),
    ]:
        def make(options=options):
            return SMTP(mailbox, hostname="mail.example", enable_SMTPUTF8=True, loop=loop, **options)

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=under)
        ports[name] = server.sockets[0].getsockname()[1]
    say(ports)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
