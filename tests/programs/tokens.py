"""Makes tokens with PyJWT: prints a key set, and a token of the same claims for each algorithm.

Arguments: the issuer, and when the tokens expire in seconds since 1970.
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
long_rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
KEYS = {
    "rsa": (rsa_key, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
    "rsa-4096": (long_rsa_key, ["RS256", "PS512"]),
    "p-256": (ec.generate_private_key(ec.SECP256R1()), ["ES256"]),
    "p-384": (ec.generate_private_key(ec.SECP384R1()), ["ES384"]),
    "p-521": (ec.generate_private_key(ec.SECP521R1()), ["ES512"]),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), ["EdDSA"]),
}


def public(name, key, algorithm):
    """A key as PyJWT writes it."""
    writer = jwt.algorithms.get_default_algorithms()[algorithm]
    return {**json.loads(writer.to_jwk(key.public_key())), "kid": name}


def main():
    issuer, expires = sys.argv[1], int(sys.argv[2])
    claims = {"iss": issuer, "sub": "jason", "aud": ["shop"], "exp": expires}
    keys, tokens = [], []
    for name, (key, algorithms) in KEYS.items():
        keys.append(public(name, key, algorithms[0]))
        for algorithm in algorithms:
            token = jwt.encode(claims, key, algorithm, headers={"kid": name})
            tokens.append({"algorithm": algorithm, "key": name, "token": token})
    print(json.dumps({"keys": keys, "tokens": tokens}))


main()
