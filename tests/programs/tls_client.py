"""A client that speaks TLS by the library of Python, which is OpenSSL's.

Usage: tls_client.py PORT ROOTS PROTOCOL [CHAIN KEY]

Offers PROTOCOL by ALPN, believes the authorities in ROOTS, shows CHAIN if there is one, and asks for
`GET /`. Prints a line of JSON: what was agreed upon and the answer, or why there is none.
"""

import json
import socket
import ssl
import sys


def ask(port, roots, protocol, chain):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Workloads are not called by names of hosts.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(roots)
    context.set_alpn_protocols([protocol])
    if chain:
        context.load_cert_chain(*chain)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as tcp:
        with context.wrap_socket(tcp, server_hostname="cart") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n")
            answer = b""
            while piece := tls.recv(65536):
                answer += piece
            names = tls.getpeercert().get("subjectAltName", ())
            return {
                "version": tls.version(),
                "protocol": tls.selected_alpn_protocol(),
                "names": [name for _, name in names],
                "status": int(answer.split(b" ")[1]) if answer else None,
            }


port, roots, protocol, *chain = sys.argv[1:]
try:
    seen = ask(int(port), roots, protocol, chain)
except (OSError, ssl.SSLError) as error:
    seen = {"error": str(error)}
print(json.dumps(seen))
