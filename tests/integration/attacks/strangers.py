"""Certificates that prove nothing: of no authority we trust, and some of ours that it would never issue."""

from collections.abc import Callable, Mapping

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ordersys.identity.layout import Layout
from tests.unit.test_certificates import BOTH, ORDER, PRODUCT, Issued
from tests.unit.test_certificates import Authority as Issuer

DNS = PRODUCT.rpartition("/")[2]


def issuer(layout: Layout) -> Issuer:
    """The authority of a system."""
    made = Issuer("ours", key=_key(layout.ca_key.read_bytes()))
    made.certificate = x509.load_pem_x509_certificate(layout.ca.read_bytes())
    made.name = made.certificate.subject
    return made


def credentials(layout: Layout, issued: Issued) -> grpc.ChannelCredentials:
    """Those of a client that shows this certificate, and trusts the authority of the system."""
    return grpc.ssl_channel_credentials(layout.ca.read_bytes(), issued.key_pem(), issued.chain_pem)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _below_a_leaf(ours: Issuer, layout: Layout) -> Issued:
    """Signed with the key of a service."""
    leaf = x509.load_pem_x509_certificate(layout.certificate("order-service").read_bytes())
    below = Issuer("below", key=_key(layout.key("order-service").read_bytes()))
    below.name = leaf.subject
    issued = below.issue(PRODUCT)
    return Issued((*issued.chain, leaf), issued.key)


def _self_signed(ours: Issuer, layout: Layout) -> Issued:
    alone = Issuer(DNS)
    return alone.issue(PRODUCT, key=alone.key)


NOT_LET_IN: Mapping[str, Callable[[Issuer, Layout], Issued]] = {
    "of another authority of the same name": lambda ours, layout: _renamed(Issuer("x"), ours).issue(PRODUCT),
    "of its own key": _self_signed,
    "expired": lambda ours, layout: ours.issue(PRODUCT, days=(-2, -1)),
    "not valid yet": lambda ours, layout: ours.issue(PRODUCT, days=(1, 2)),
    "for servers only": lambda ours, layout: ours.issue(PRODUCT, uses=BOTH[:1]),
    "below the certificate of a service": _below_a_leaf,
}
"""No connection comes about with any of them."""


def _renamed(made: Issuer, like: Issuer) -> Issuer:
    made.name = like.name
    return made


OF_NO_SERVICE: Mapping[str, Callable[[Issuer], Issued]] = {
    "common name alone": lambda ours: ours.issue(PRODUCT, uris=(), dns=()),
    "DNS name alone": lambda ours: ours.issue(PRODUCT, uris=(), dns=(DNS,)),
    "id as a DNS name": lambda ours: ours.issue(PRODUCT, uris=(), dns=(PRODUCT.removeprefix("spiffe://"),)),
    "two ids": lambda ours: ours.issue(PRODUCT, uris=(PRODUCT, ORDER)),
    "another trust domain": lambda ours: ours.issue(PRODUCT, uris=(PRODUCT.replace("ordersys", "elsewhere"),)),
    "upper case": lambda ours: ours.issue(PRODUCT, uris=(PRODUCT.replace("ordersys", "ORDERSYS"),)),
    "trailing slash": lambda ours: ours.issue(PRODUCT, uris=(f"{PRODUCT}/",)),
    "path to be normalised": lambda ours: ours.issue(PRODUCT, uris=(PRODUCT.replace("/product", "/x/../product"),)),
    "port": lambda ours: ours.issue(PRODUCT, uris=(PRODUCT.replace("ordersys", "ordersys:443"),)),
    "the declarer": lambda ours: ours.issue("spiffe://ordersys/service/topology"),
}
"""They get a connection, and are nobody's."""
