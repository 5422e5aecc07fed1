"""Connects in TLS to PORT on loopback as the client of Python's standard library, and says how it went.

    tls.py PORT NAME CA [CERTIFICATE KEY]

Asks for NAME (for none if it is "-"), trusts CA, and sends one request, twice: the second connection
wants to go on with the session of the first. One line of JSON for each.
"""

import json
import socket
import ssl
import sys


def ask(context, port, name, session):
    wanted = None if name == "-" else name
    context.check_hostname = wanted is not None
    with socket.create_connection(("127.0.0.1", port), timeout=20) as tcp:
        with context.wrap_socket(tcp, server_hostname=wanted, session=session) as tls:
            host = wanted or "app.test"
            request = f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
            tls.sendall(request.encode())
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
            said = {
                "version": tls.version(),
                "protocol": tls.selected_alpn_protocol(),
                "status": int(answer.split(b" ")[1]),
                "body": answer.split(b"\r\n\r\n", 1)[1].decode(),
                "resumed": tls.session_reused,
            }
            return said, tls.session


def main():
    port, name, authority, *own = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["http/1.1"])
    if own:
        context.load_cert_chain(*own)
    session = None
    for _ in range(2):
        try:
            said, session = ask(context, int(port), name, session)
        except (OSError, IndexError) as error:
            said = {"error": str(error)}
        print(json.dumps(said))


main()
