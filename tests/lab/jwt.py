"""Reads JSON Web Tokens and checks their signatures (ES256, RS256, PS256). It creates no tokens."""

import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def base64url_encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def unverified_claims(token: str) -> dict:
    try:
        return json.loads(base64url_decode(token.split(".")[1]))
    except (IndexError, ValueError):
        return {}


def verified_claims(token: str, public_key) -> dict:
    """Returns the claims of a JWT signed with this key, which is PEM or a key object of `cryptography`."""
    key = load_pem_public_key(public_key) if isinstance(public_key, bytes) else public_key
    head, payload, signature = token.split(".")
    signed, signature = f"{head}.{payload}".encode(), base64url_decode(signature)
    algorithm = json.loads(base64url_decode(head))["alg"]
    sha256 = hashes.SHA256()
    if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey) and len(signature) == 64:
        halves = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(sha256))
    elif algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), sha256)
    elif algorithm == "PS256" and isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PSS(padding.MGF1(sha256), 32), sha256)
    else:
        raise ValueError(f"{algorithm} does not go with this key")
    return json.loads(base64url_decode(payload))
